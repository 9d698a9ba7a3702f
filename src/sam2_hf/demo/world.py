"""The demo's default input: an image and a clip of the synthetic world, from its test split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..training.prompting.distance import deepest_points
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
    visible = torch.from_numpy(rendered.masks[0][rendered.visible[0]])
    points, _ = deepest_points(visible)
    return World(rendered.frames, [(int(x), int(y)) for x, y in points.tolist()])
