"""Collages as a data set: images and clips by their number."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from functools import cached_property

import numpy as np

from ..data.annotated_video import AnnotatedVideo, Clip
from ..synthetic.draws import Draws
from ..synthetic.motion import Size
from .materials import SPLITS, Materials, Split
from .rendering import render
from .scene import CollageSettings, Scene, draw_scene

_SCENE, _NOISE = 0, 1


class Collage(AnnotatedVideo):
    """One collage. Each frame is drawn when it is needed, independently of the others. Its objects may be nested."""

    def __init__(self, name: str, key: tuple[int, ...], materials: Materials, settings: CollageSettings):
        self.name, self.num_frames, self.annotated = name, settings.length, range(settings.length)
        self._key, self._materials, self._settings = key, materials, settings

    @cached_property
    def scene(self) -> Scene:
        """The scene: photograph, objects, camera."""
        return draw_scene(Draws(*self._key, _SCENE), self._materials, self._settings)

    def read(self, frames: Sequence[int]) -> Clip:
        images, masks = render(self.scene, frames, [Draws(*self._key, _NOISE, frame) for frame in frames])
        return Clip(images, masks, tuple(range(len(self.scene.objects))))

    def image(self, frame: int) -> np.ndarray:
        return self.read([frame]).frames[0]

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        return {number: mask for number, mask in enumerate(self.read([frame]).masks[0]) if mask.any()}


class Collages(Sequence[AnnotatedVideo]):
    """The first `count` collages of a folder of materials.

    Args:
        count: number of images or clips; each is drawn when it is needed.
        folder: the materials, see `Materials`.
        seed: of what is drawn.
        split: "train", "validation" and "test" share no photograph and no cut-out.
        size: (height, width) in pixels.
        length: of a clip, in frames.
        objects: least and most cut-outs; parts and groups are objects besides.
        moving: False for images: one frame, objects of all sizes.

    Raises:
        ValueError: for a setting out of range, or a folder without materials.
    """

    def __init__(
        self,
        count: int,
        folder: str | os.PathLike[str],
        seed: int = 0,
        split: Split = "train",
        size: Size = (384, 384),
        length: int = 24,
        objects: Size = (2, 6),
        moving: bool = False,
    ):
        if count < 1 or length < 1 or min(size) < 32:
            raise ValueError(
                f"expected a count and a length of at least 1 and sides of at least 32 pixels, got {count}, {length} "
                f"and {size}"
            )
        if not 1 <= objects[0] <= objects[1] <= 50:
            raise ValueError(f"objects must be the least and the most, from 1 to 50, got {objects}")
        self._count, self._materials = count, Materials(folder, split)
        self._key = (seed, SPLITS.index(split), int(moving), 7)
        self._settings = CollageSettings(size, length if moving else 1, objects, moving)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Collage:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(f"index must lie in 0..{self._count - 1}, got {index}")
        name = f"collage {self._materials.split} {index}"
        return Collage(name, (*self._key, index), self._materials, self._settings)
