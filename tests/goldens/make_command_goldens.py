"""Writes command.json: what `sam2 segment --json` and `sam2 track --json` print of the drawn world.

OMP_NUM_THREADS=1 PYTHONPATH=src:tests python tests/goldens/make_command_goldens.py
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sam2_hf.cli.main import main
from sam2_hf.demo.world import draw_clip, draw_image
from sam2_hf.hub.bundled import bundled_checkpoint
from sam2_hf.video_io.write_video import write_video

GOLDEN = Path(__file__).parent / "command.json"
COMMANDS = {
    "segment": ["segment", "photo.png", "nothing.png", "--box", "150,73,288,234", "--box", "30,252,121,346"],
    "track": ["track", "clip.mkv", "--from", "prompts.json", "--frames", "2"],
}
OPTIONS = ["--format", "csv", "--out", "out", "--json", "--quiet"]


def furnish(folder: Path) -> None:
    """Write what the commands read: an image, a file that is no image, a clip and prompts."""
    draw_image().first.save(folder / "photo.png")
    (folder / "nothing.png").write_bytes(b"no image")
    world = draw_clip()
    write_video(folder / "clip.mkv", world.frames[:3], fps=10)
    prompts = {name: {"points": [list(point)]} for name, point in zip(("ring", "block"), world.points, strict=False)}
    (folder / "prompts.json").write_text(json.dumps(prompts))


def run(name: str) -> list[dict[str, Any]]:
    """Run a command in the working directory; what it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        main([*COMMANDS[name], *OPTIONS, "--checkpoint", bundled_checkpoint()])
    return json.loads(printed.getvalue())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        furnish(Path(folder))
        os.chdir(folder)
        GOLDEN.write_text(json.dumps({name: run(name) for name in COMMANDS}, indent=1) + "\n")
    sys.exit(0)
