"""Images and clips to try: photographs that gradio ships, and what is drawn here. Nothing is fetched."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..demo.photographs import installed_photographs
from ..training.synthetic.world import SyntheticVideos

_IMAGE_SIZE, _CLIP_SIZE = (480, 640), (360, 480)
_CLIP_FRAMES = 24


class Example(NamedTuple):
    """Frames (T, height, width, 3) uint8, of which an image has one, and what to call it."""

    name: str
    frames: np.ndarray


@lru_cache
def example_images() -> tuple[Example, ...]:
    """Draw an image with many shapes, and read gradio's photographs."""
    videos = SyntheticVideos(1000, split="test", size=_IMAGE_SIZE, objects=(7, 9), moving=False)
    photographs = [Example(item.name, np.asarray(item.read())[None]) for item in installed_photographs("gradio")]
    return (Example("stars", videos[10].read([0]).frames), *photographs)


@lru_cache
def example_clips() -> tuple[Example, ...]:
    """Draw a clip in which objects pass behind a wall."""
    videos = SyntheticVideos(1000, split="test", size=_CLIP_SIZE, length=_CLIP_FRAMES, objects=(3, 4))
    return (Example("moving shapes", videos[2].read(range(_CLIP_FRAMES)).frames),)
