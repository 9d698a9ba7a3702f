"""Drawn images and clips for runs, some of them damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from clips import write_clip
from PIL import Image


def draw_images(folder: Path, count: int, side: int = 64, damaged: tuple[int, ...] = ()) -> Path:
    """Writes squares on grounds, 000.png, 001.png, ... in two sizes; damaged ones are cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        image = np.full((side, side + number % 2 * 16, 3), rng.integers(0, 255, 3), np.uint8)
        top, left = rng.integers(0, side // 2, 2)
        image[top : top + side // 3, left : left + side // 3] = rng.integers(0, 255, 3)
        path = folder / f"{number:03d}.png"
        Image.fromarray(image).save(path)
        if number in damaged:
            path.write_bytes(path.read_bytes()[:60])
    return folder


def draw_clips(folder: Path, count: int, frames: int = 4, damaged: tuple[int, ...] = ()) -> Path:
    """Writes clips c000.mp4, c001.mp4, ...; damaged ones are no clips at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"c{number:03d}.mp4"
        if number in damaged:
            path.write_bytes(b"not a clip")
        else:
            write_clip(path, frames)
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    """What a run has written, by file, without its lock."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
