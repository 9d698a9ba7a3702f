"""Makes `session_format_1/`, a session as version 0.1 saved it.

    PYTHONPATH=src:tests python tests/goldens/make_session.py


Run it with the code of the version whose format is to be kept; later versions read the folder in a test.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from video_scenes import give, prompted, tiny_model, track

FOLDER = Path(__file__).parent / "session_format_1"


def main() -> None:
    """Two objects on a clip of six frames: one tracked and corrected, one with a mask that is still pending."""
    session = prompted((0, "a", "click"), num_frames=6)
    track(tiny_model(), session, max_frame_num_to_track=3)
    give(session, 2, "a", "background")
    tiny_model()(session, frame_idx=2)
    give(session, 1, ("b", 7), "mask")
    shutil.rmtree(FOLDER, ignore_errors=True)
    session.save(FOLDER)


if __name__ == "__main__":
    main()
