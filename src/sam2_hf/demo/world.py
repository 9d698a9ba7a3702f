"""The demo's default input: an image and a clip of the synthetic world, from its test split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from ..training.synthetic.world import SyntheticVideo, SyntheticVideos

SIZE = (512, 512)
"""Height and width in pixels."""

# The image has many shapes; in the clip, objects hide and come back.
IMAGE, CLIP = 4, 5

Point = tuple[int, int]


class World(NamedTuple):
    """Frames (T, H, W, 3) uint8, and a point (x, y) in the middle of each object that is visible in the first frame."""

    frames: np.ndarray
    points: list[Point]

    @property
    def first(self) -> Image.Image:
        """The first frame as an image."""
        return Image.fromarray(self.frames[0])


def videos(objects: tuple[int, int], moving: bool = True) -> SyntheticVideos:
    """The videos from which the demo takes its image and its clip."""
    return SyntheticVideos(1000, split="test", size=SIZE, objects=objects, moving=moving)


def draw_image() -> World:
    """A clip of one frame."""
    return _draw(videos(objects=(7, 9), moving=False)[IMAGE])


def draw_clip() -> World:
    """A clip of forty frames in which objects pass behind a wall."""
    return _draw(videos(objects=(3, 4))[CLIP])


def _draw(video: SyntheticVideo) -> World:
    rendered = video.render(range(video.num_frames))
    visible = rendered.masks[0][rendered.visible[0]]
    return World(rendered.frames, [_middle(mask) for mask in visible])


def _middle(mask: np.ndarray) -> Point:
    """The pixel (x, y) of a mask (H, W) that erosion removes last; the demo does without SciPy's distances."""
    left = np.pad(mask, 1)
    while True:
        smaller = left.copy()
        smaller[1:-1, 1:-1] &= left[:-2, 1:-1] & left[2:, 1:-1] & left[1:-1, :-2] & left[1:-1, 2:]
        if not smaller.any():
            y, x = np.argwhere(left)[0] - 1
            return int(x), int(y)
        left = smaller
