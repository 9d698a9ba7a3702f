"""The code blocks of README and docs, and a reader who runs them in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tiny_checkpoint import save_tiny_checkpoint

from sam2_hf.video_io.write_video import write_video

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the page on which the text begins, from 1."""

    language: str
    text: str
    line: int


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, those of one language or all."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(match[1], match[2], text[: match.start(2)].count("\n") + 1)
        for match in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    return [block for block in found if language in (None, block.language)]


def furnish(folder: Path) -> None:
    """Writes what pages speak of: a checkpoint of a video model, a photo, a large image and a clip."""
    save_tiny_checkpoint(folder / "facebook/sam2.1-hiera-tiny", video=True)
    Image.effect_noise((900, 700), 80).convert("RGB").save(folder / "photo.jpg")
    Image.effect_noise((1300, 1100), 80).convert("RGB").save(folder / "huge.tif")
    frames = np.random.default_rng(0).integers(0, 255, (3, 360, 480, 3), dtype=np.uint8)
    write_video(folder / "clip.mp4", frames, fps=25.0)


def run(page: Path) -> dict[str, Any]:
    """Runs a page's Python blocks in one namespace, as they stand, in the working directory.

    Tracebacks show the lines of the page.
    """
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
    return namespace
