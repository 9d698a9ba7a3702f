"""The synthetic world as a data set: videos and images by their number."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np

from ..data.annotated_video import AnnotatedVideo, Clip
from .draws import Draws
from .motion import Size
from .rendering import RenderedClip, render
from .scene import Scene, SceneSettings, draw_scene

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_SCENE, _NOISE = 0, 1


class SyntheticVideo(AnnotatedVideo):
    """One video of the world. Each frame is drawn when it is needed, independently of the others."""

    def __init__(self, name: str, key: tuple[int, ...], settings: SceneSettings):
        self.name, self.num_frames, self.annotated = name, settings.length, range(settings.length)
        self._key, self._settings = key, settings

    @cached_property
    def scene(self) -> Scene:
        """The scene: background, light and objects."""
        return draw_scene(Draws(*self._key, _SCENE), self._settings)

    def render(self, frames: Sequence[int]) -> RenderedClip:
        """Draw some frames, with the masks and the visible share of all objects."""
        return render(self.scene, frames, [Draws(*self._key, _NOISE, frame) for frame in frames])

    def read(self, frames: Sequence[int]) -> Clip:
        rendered = self.render(frames)
        return Clip(rendered.frames, rendered.masks, tuple(range(len(self.scene.actors))))

    def image(self, frame: int) -> np.ndarray:
        return self.render([frame]).frames[0]

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        return {number: mask for number, mask in enumerate(self.render([frame]).masks[0]) if mask.any()}


class SyntheticVideos(Sequence[AnnotatedVideo]):
    """The first `count` videos of a world.

    Args:
        count: number of videos; each is drawn when it is needed.
        seed: of the world.
        split: "train", "validation" and "test" have no video in common.
        size: (height, width) in pixels.
        length: of a video, in frames.
        objects: least and most objects in a video.
        moving: False for images: one frame, many objects.
        distractors: probability that a moving object has exactly the appearance of the one before.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(
        self,
        count: int,
        seed: int = 0,
        split: Split = "train",
        size: Size = (256, 256),
        length: int = 40,
        objects: Size = (2, 4),
        moving: bool = True,
        distractors: float = 0.2,
    ):
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
        if count < 1 or length < 1 or min(size) < 32:
            raise ValueError(
                f"expected a count and a length of at least 1 and sides of at least 32 pixels, got {count}, {length} "
                f"and {size}"
            )
        if not 1 <= objects[0] <= objects[1] <= 200:
            raise ValueError(f"objects must be the least and the most, from 1 to 200, got {objects}")
        if not 0 <= distractors <= 1:
            raise ValueError(f"distractors must be a probability, got {distractors}")
        self._count, self.split = count, split
        self._key = (seed, SPLITS.index(split), int(moving))
        self._settings = SceneSettings(size, length if moving else 1, objects, moving, distractors)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> SyntheticVideo:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(f"index must lie in 0..{self._count - 1}, got {index}")
        return SyntheticVideo(f"{self.split} {index}", (*self._key, index), self._settings)
