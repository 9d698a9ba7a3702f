"""Drawing of a frame: sprites are warped, laid over each other, and what is left of each is its mask.

Colours are float32 from 0 to 1, premultiplied with alpha where there is one. Units are pixels of the frame.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

Matrix = tuple[float, float, float, float, float, float]


def warp(sprite: np.ndarray, matrix: Matrix, size: tuple[int, int], shrinking: float = 1.0) -> np.ndarray:
    """Sample a sprite under an affine map.

    Args:
        sprite: (S, S, 4) float32.
        matrix: (a, b, c, d, e, f); the pixel (x, y) shows the sprite at (a x + b y + c, d x + e y + f).
        size: (height, width) of the result.
        shrinking: about how many cells of the sprite fall on a pixel; above 2, the sprite is first reduced.

    Returns:
        (height, width, 4) float32, zero where the sprite is not.
    """
    factor = max(1, int(shrinking))
    channels = []
    for channel in range(sprite.shape[-1]):
        image = Image.fromarray(np.ascontiguousarray(sprite[..., channel]), mode="F")
        if factor > 1:
            image = image.reduce(factor)
        scaled = tuple(value / factor for value in matrix)
        moved = image.transform(size[::-1], Image.Transform.AFFINE, scaled, Image.Resampling.BILINEAR)
        channels.append(np.asarray(moved, np.float32))
    return np.clip(np.stack(channels, axis=-1), 0, 1)


def placement(
    centre: tuple[float, float], radius: float, angle: float, squeeze: float, origin: tuple[int, int], sprite_size: int
) -> Matrix:
    """The map from pixels of a box to cells of a sprite.

    Args:
        centre: (x, y) of the object in the frame.
        radius: half the side of the sprite's square.
        angle: of its rotation, in radians.
        squeeze: factor of its width.
        origin: (x, y) of the box's first pixel.
        sprite_size: cells along a side of the sprite.
    """
    down, across = sprite_size / (2 * radius), sprite_size / (2 * radius * squeeze)
    cosine, sine = math.cos(angle), math.sin(angle)
    dx, dy = origin[0] - centre[0], origin[1] - centre[1]
    half = sprite_size / 2
    return (
        *(across * cosine, across * sine, across * (cosine * dx + sine * dy) + half),
        *(-down * sine, down * cosine, down * (cosine * dy - sine * dx) + half),
    )


def blurred(patch: np.ndarray, radius: float) -> np.ndarray:
    """A patch (H, W, C) float32 behind a Gaussian blur of so many pixels; as it is for less than a quarter of one."""
    if radius < 0.25:
        return patch
    blur = ImageFilter.GaussianBlur(radius)
    bytes_ = (np.clip(patch, 0, 1) * 255 + 0.5).astype(np.uint8)
    planes = [np.asarray(Image.fromarray(bytes_[..., index]).filter(blur)) for index in range(patch.shape[-1])]
    return np.stack(planes, axis=-1).astype(np.float32) / 255


class Canvas:
    """A frame in the making.

    Invariant: `shares[k]` (H, W) is the part of a pixel that shows layer k; with the background's they add up to one.
    """

    def __init__(self, background: np.ndarray):
        self.image = background.astype(np.float32)
        self.shares: list[np.ndarray] = []

    def lay(self, patch: np.ndarray, rows: slice, columns: slice) -> None:
        """Lay a patch (h, w, 4) over a box of the frame, as the next layer."""
        alpha = patch[..., 3]
        behind = 1 - alpha
        for share in self.shares:
            share[rows, columns] *= behind
        own = np.zeros(self.image.shape[:2], np.float32)
        own[rows, columns] = alpha
        self.shares.append(own)
        box = self.image[rows, columns]
        box *= behind[..., None]
        box += patch[..., :3]

    def skip(self) -> None:
        """Count a layer that lies outside the frame."""
        self.shares.append(np.zeros(self.image.shape[:2], np.float32))

    def darken(self, alpha: np.ndarray, rows: slice, columns: slice, strength: float) -> None:
        """Draw the shadow of an alpha (h, w) on a box of the frame."""
        self.image[rows, columns] *= 1 - np.float32(strength) * alpha[..., None]
