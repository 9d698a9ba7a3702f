"""Where mask generation looks: overlapping crops of an image in layers, and a grid of points on each.

The layout is that of the automatic mask generator of "Segment Anything" (https://arxiv.org/abs/2304.02643, appendix
B): layer 0 is the whole image, layer n has 2^n by 2^n crops.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Crop(NamedTuple):
    """A part of an image, in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    layer: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left


def crop_layers(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image and `layers` further layers of crops.

    Args:
        size: (height, width) of the image, in pixels.
        layers: 0 for the whole image alone.
        overlap_ratio: how much neighbours in layer 1 share, as a part of the image's shorter side; half of it in
            layer 2, and so on.

    Returns:
        Crops column by column, layer by layer. Of an image too small for so many, those that would be empty are
        left out.
    """
    height, width = size
    crops = [Crop(0, 0, width, height, 0)]
    for layer in range(1, layers + 1):
        across = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / across)
        crops += [
            Crop(left, top, right, bottom, layer)
            for left, right in _intervals(width, across, overlap)
            for top, bottom in _intervals(height, across, overlap)
        ]
    return crops


def _intervals(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """`count` stretches of equal length that cover `length` and share `overlap` with the next."""
    stretch = math.ceil((length + overlap * (count - 1)) / count)
    starts = (index * (stretch - overlap) for index in range(count))
    return [(start, min(start + stretch, length)) for start in starts if start < length]


def point_grid(points_per_side: int) -> np.ndarray:
    """The centres of a grid of equal cells over the unit square: (points_per_side^2, 2) as (x, y), row by row."""
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
