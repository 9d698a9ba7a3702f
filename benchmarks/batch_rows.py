"""Drawn images and clips for measurements of `sam2 batch`, and the command that segments them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_hf.video_io.write_video import write_video

ROWS_A_SHARD = 25
IMAGE_SIZE = 128
_SIDE, _FRAMES = 96, 6
_PROMPTS = {"object": {"points": [[48, 48]]}}


def draw_rows(folder: Path, images: int, clips: int, damaged: float, seed: int) -> int:
    """Draw squares on grounds as files, some of them damaged: cut off, overwritten or empty.

    Args:
        folder: where they go, to `rows`; beside it `prompts.json`.
        images: how many images.
        clips: how many clips, of 6 frames.
        damaged: which part of them.
        seed: of everything.

    Returns:
        How many are damaged.
    """
    rng = np.random.default_rng(seed)
    rows = folder / "rows"
    rows.mkdir(parents=True)
    (folder / "prompts.json").write_text(json.dumps(_PROMPTS))
    paths = []
    for number in range(images):
        paths.append(rows / f"image{number:05d}.jpg")
        Image.fromarray(_scene(rng, 0)).save(paths[-1], quality=90)
    for number in range(clips):
        paths.append(rows / f"clip{number:04d}.mp4")
        clip = np.random.default_rng((seed, number))
        state = clip.bit_generator.state
        frames = []
        for frame in range(_FRAMES):
            clip.bit_generator.state = state
            frames.append(_scene(clip, 3 * frame))
        write_video(paths[-1], frames, fps=10.0)
    chosen = rng.choice(len(paths), round(damaged * len(paths)), replace=False)
    for number, index in enumerate(sorted(chosen)):
        content = paths[index].read_bytes()
        broken = (content[: len(content) // 3], bytes(len(content)), b"")[number % 3]
        paths[index].write_bytes(broken)
    return len(chosen)


def _scene(rng: np.random.Generator, shift: int) -> np.ndarray:
    """A textured ground with a square on it, (height, width, 3) uint8."""
    image = np.full((_SIDE, _SIDE, 3), rng.integers(0, 255, 3), np.int64) + rng.integers(-9, 9, (_SIDE, _SIDE, 1))
    top, left = rng.integers(8, 40, 2)
    image[top : top + 40, left + shift : left + shift + 40] = rng.integers(0, 255, 3)
    return image.clip(0, 255).astype(np.uint8)


def batch_command(out: Path, workers: int) -> list[str]:
    """The command that segments the rows, to be run in their folder."""
    options = ["--from", "prompts.json", "--image-size", str(IMAGE_SIZE), "--rows-a-shard", str(ROWS_A_SHARD)]
    options += ["--workers", str(workers), "--device", "cpu", "--quiet", "--json", "--max-attempts", "1000"]
    return [sys.executable, "-m", "sam2_hf", "batch", "rows", "--out", os.fspath(out), *options]


def written_by(out: Path) -> dict[str, bytes]:
    """What a run has written, by file, without its lock."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
