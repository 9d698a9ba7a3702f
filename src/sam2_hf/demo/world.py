"""What the demo shows when it is given nothing: a picture and a clip of the synthetic world.

Both are from the part of the world that no training sees.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..training.prompting.distance import deepest_points
from ..training.synthetic.world import SyntheticVideo, SyntheticVideos

SIZE = (512, 512)
"""Height and width in pixels."""

# Chosen for what is to be seen: many shapes in the one, objects that hide and come back in the other.
PICTURE, CLIP = 4, 5

Point = tuple[int, int]


class World(NamedTuple):
    """Frames (T, H, W, 3) uint8, and a point (x, y) in the middle of each object that is seen in the first of them."""

    frames: np.ndarray
    points: list[Point]

    @property
    def first(self) -> Image.Image:
        """The first frame as a picture."""
        return Image.fromarray(self.frames[0])


def videos(objects: tuple[int, int], moving: bool = True) -> SyntheticVideos:
    """The part of the world that the demo takes its picture and its clip from."""
    return SyntheticVideos(1000, split="test", size=SIZE, objects=objects, moving=moving)


def draw_picture() -> World:
    """A still life, a clip of one frame."""
    return _draw(videos(objects=(7, 9), moving=False)[PICTURE])


def draw_clip() -> World:
    """Forty frames in which objects pass behind a wall."""
    return _draw(videos(objects=(3, 4))[CLIP])


def _draw(video: SyntheticVideo) -> World:
    rendered = video.render(range(video.num_frames))
    seen = torch.from_numpy(rendered.masks[0][rendered.visible[0]])
    points, _ = deepest_points(seen)
    return World(rendered.frames, [(int(x), int(y)) for x, y in points.tolist()])
