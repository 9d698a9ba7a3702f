"""Sessions to be saved, and what is compared of them."""

from __future__ import annotations

from pathlib import Path

from video_scenes import (
    PROCESSOR,
    give,
    open_session,
    snapshot,
    stream,
    tiny_model,
    track,
)

from sam2_hf.tracking.session import Sam2VideoInferenceSession

load = Sam2VideoInferenceSession.load


def tracked_clip(num_frames: int = 8, **settings) -> Sam2VideoInferenceSession:
    """A session in the middle of its work: tracked both ways, corrected, and with prompts that wait."""
    session = open_session(num_frames, **settings)
    give(give(session, 2, "a"), 3, ("b", 1), "box")
    track(tiny_model(), session, direction="both", max_frame_num_to_track=3)
    give(session, 4, "a", "background")
    tiny_model()(session, frame_idx=4)
    give(session, 1, "a", "mask")
    return give(session, 5, 7, "mask")


def streamed(num_frames: int = 6) -> Sam2VideoInferenceSession:
    session = PROCESSOR.init_video_session()
    give(give(session, 0, "a"), 3, "b", "box")
    stream(tiny_model(), session, range(num_frames))
    return give(session, num_frames - 1, "c", "mask")


GOLDENS = Path(__file__).parents[1] / "goldens"


def visible_in(folder: Path) -> list[str]:
    """Names in a folder, but for the lock file."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def remembered(session: Sam2VideoInferenceSession) -> list:
    """The session's memory but for features, which are computed again."""
    return [entry for entry in snapshot(session) if entry[0] != "feature_cache"]
