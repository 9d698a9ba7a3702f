"""One object's mask in one image, with what is known of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array
from ..masks.polygons import Polygon, rle_to_polygons
from ..masks.rle import Rle, compress_rle, mask_run_lengths, rle_area, rle_part, rle_scaled, rle_to_array, rle_to_box

Box = tuple[int, int, int, int]


class ShownPrompt(NamedTuple):
    """What an object was prompted with, in pixels: points (x, y) with labels, and a box (x0, y0, x1, y1)."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class ObjectMask:
    """The mask of one object in one image. Only its run lengths are kept.

    Attributes:
        name: the caller's name of the object, or its number from 1.
        rle: COCO run lengths, {"size": [height, width], "counts": int32 (runs,)}.
        score: predicted IoU of the mask with the object, about 0 to 1; None where nothing predicts it.
        object_score: logit of the object being visible; None for images, where it is taken to be.
        prompt: what the object was prompted with in this image.
        extra: further facts by name, which tables and JSON files show.
    """

    name: Hashable
    rle: Rle
    score: float | None = None
    object_score: float | None = None
    prompt: ShownPrompt | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        height, width = self.rle["size"]
        return height, width

    @property
    def mask(self) -> np.ndarray:
        """The mask, (height, width) bool. Decoded anew by each use."""
        return rle_to_array(self.rle)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return rle_area(self.rle)

    @property
    def visible(self) -> bool:
        """Whether the object is in sight: its object score is positive and its mask is not empty."""
        return (self.object_score is None or self.object_score > 0) and self.area > 0

    @property
    def box(self) -> Box:
        """(x0, y0, x1, y1) around the mask in pixels: x1 and y1 are the first column and row beyond it. Zeros for an
        empty mask."""
        if not self.area:
            return 0, 0, 0, 0
        left, top, right, bottom = rle_to_box(self.rle)
        return left, top, right + 1, bottom + 1

    def polygons(self, tolerance: float = 1.0) -> list[Polygon]:
        """Trace the mask; see `rle_to_polygons`."""
        return rle_to_polygons(self.rle, tolerance)

    def part(self, box: Box) -> np.ndarray:
        """The mask within a box (x0, y0, x1, y1) in the image, (y1 - y0, x1 - x0) bool. Nothing else is decoded."""
        return rle_part(self.rle, box)

    def scaled(self, size: tuple[int, int]) -> ObjectMask:
        """The object in a smaller copy of the image, (height, width), to be looked at; its prompt with it."""
        down, across = (new / old for new, old in zip(size, self.size, strict=True))
        prompt = self.prompt
        if prompt is not None:
            points = tuple((x * across, y * down) for x, y in prompt.points)
            box = prompt.box and (
                prompt.box[0] * across,
                prompt.box[1] * down,
                prompt.box[2] * across,
                prompt.box[3] * down,
            )
            prompt = ShownPrompt(points, prompt.labels, box)
        return replace(self, rle=rle_scaled(self.rle, size), prompt=prompt)

    def compressed_rle(self) -> Rle:
        """Encode the run lengths as a string, as pycocotools and JSON files have them."""
        return compress_rle(self.rle)


@dataclass(frozen=True)
class ImageRecord:
    """The objects of one image or frame without its pixels: what the writers of files take.

    Attributes:
        objects: what was found.
        size: (height, width) in pixels.
        file_name: where the image came from; "" if it was in memory.
        frame: number of the frame, for a clip.
    """

    objects: Sequence[ObjectMask]
    size: tuple[int, int]
    file_name: str = ""
    frame: int | None = None


def frame_file_name(clip: str, frame: int) -> str:
    """Name the image of a frame, as data sets of clips do."""
    return f"{clip}/{frame:05d}.jpg"


def encode_masks(masks: Array) -> list[Rle]:
    """Encode masks (N, height, width), bool, as run lengths in arrays."""
    size = list(masks.shape[-2:])
    return [{"size": size, "counts": counts} for counts in mask_run_lengths(masks)]
