"""Rendering of a scene to pixels and masks.

For every pixel near an object, the cell of its sprite is computed in fixed-point integers, so that every machine draws
the same outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .draws import Draws
from .scene import SPRITE_SIZE, Actor, Scene

_FRACTION_BITS = 16
_SHADOW = 170  # brightness in a shadow, of 256


class RenderedClip(NamedTuple):
    """T frames with N objects.

    Attributes:
        frames: (T, H, W, 3) uint8.
        masks: (T, N, H, W) bool, the visible pixels of each object, exactly.
        coverage: (T, N) float32, the share of an object's pixels within the image that is not behind others; 0 for an
            object outside the image.
    """

    frames: np.ndarray
    masks: np.ndarray
    coverage: np.ndarray

    @property
    def visible(self) -> np.ndarray:
        """(T, N) bool: whether any pixel of the object is visible."""
        return self.coverage > 0


def render(scene: Scene, frames: Sequence[int], noise: Sequence[Draws]) -> RenderedClip:
    """Draw some frames of a scene, each with its own stream for the noise, so that none depends on the others."""
    height, width = scene.size
    images = np.empty((len(frames), height, width, 3), np.uint8)
    masks = np.empty((len(frames), len(scene.actors), height, width), bool)
    coverage = np.zeros((len(frames), len(scene.actors)), np.float32)
    for index, frame in enumerate(frames):
        canvas, owners, areas = _compose(scene, frame)
        images[index] = _expose(scene, frame, canvas, noise[index])
        for number in range(len(scene.actors)):
            np.equal(owners, number + 1, out=masks[index, number])
        visible = np.bincount(owners.ravel(), minlength=len(scene.actors) + 1)[1:]
        coverage[index] = visible / np.maximum(areas, 1)
    return RenderedClip(images, masks, coverage)


def _compose(scene: Scene, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the image in even light, the number of the object at every pixel (from 1; 0 for none), and their areas."""
    height, width = scene.size
    reach = (scene.background.shape[0] - height) // 2
    drift = scene.camera[frame]
    left, top = (int(reach - offset) for offset in drift)
    canvas = scene.background[top : top + height, left : left + width].copy()
    owners = np.zeros(scene.size, np.uint8)
    areas = np.zeros(len(scene.actors), np.int64)
    for number, actor in enumerate(scene.actors, start=1):
        placement = _Placement.of(actor, frame, drift)
        box = placement.box(scene.size)
        if box is None:
            continue
        rows, columns = box
        cells, hit = placement.cells(rows, columns)
        if actor.shadow:
            _darken(canvas, rows, columns, hit, actor.shadow)
        canvas[rows, columns][hit] = actor.sprite.texture[cells[hit]]
        owners[rows, columns][hit] = number
        areas[number - 1] = np.count_nonzero(hit)
    return canvas, owners, areas


class _Placement(NamedTuple):
    """An object in one frame: its outline, and the map from pixels to cells of its sprite."""

    inside: np.ndarray  # (S, S) bool, False along the edge
    centre: tuple[float, float]
    reach: float  # in pixels, from the centre to the farthest point
    steps: tuple[float, float, float, float]  # cells across and down for a pixel to the right, and for one below
    bend: np.ndarray | None  # (S,), cells by which each row of the sprite is shifted

    @classmethod
    def of(cls, actor: Actor, frame: int, drift: np.ndarray) -> _Placement:
        motion = actor.motion
        outline = actor.sprite.outlines[0]
        if len(actor.sprite.outlines) > 1:
            outline = outline + (actor.sprite.outlines[1] - outline) * np.float32(round(motion.change[frame], 6))
        inside = outline > 0
        inside[[0, -1]] = inside[:, [0, -1]] = False
        cosine, sine = math.cos(motion.angle[frame]), math.sin(motion.angle[frame])
        half_width = actor.radius * motion.scale[frame] * motion.squeeze[frame]
        half_height = actor.radius * motion.scale[frame]
        across, down = SPRITE_SIZE / (2 * half_width), SPRITE_SIZE / (2 * half_height)
        bend = None
        if actor.bend:
            rows = np.arange(SPRITE_SIZE) * (3 * math.pi / SPRITE_SIZE)
            bend = np.rint(actor.bend * SPRITE_SIZE * np.sin(rows + motion.bend[frame])).astype(np.int32)
        # The disc fits the unit circle, but walls fill more of their square.
        reach = max(half_width, half_height) * (1 + 2 * actor.bend) + 1
        x, y = motion.centre[frame] + drift
        return cls(inside, (x, y), reach, (across * cosine, -down * sine, across * sine, down * cosine), bend)

    def box(self, size: tuple[int, int]) -> tuple[slice, slice] | None:
        """Compute the rows and columns that it may touch; None if they are outside."""
        (x, y), (height, width) = self.centre, size
        top, bottom = max(math.floor(y - self.reach), 0), min(math.ceil(y + self.reach), height)
        left, right = max(math.floor(x - self.reach), 0), min(math.ceil(x + self.reach), width)
        return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None

    def cells(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Compute for each pixel of a box the index of its cell, and whether that is inside."""
        dx, dy = columns.start + 0.5 - self.centre[0], rows.start + 0.5 - self.centre[1]
        right_u, right_v, below_u, below_v = self.steps
        u = self._along(rows, columns, right_u, below_u, right_u * dx + below_u * dy)
        v = self._along(rows, columns, right_v, below_v, right_v * dx + below_v * dy)
        np.clip(v, 0, SPRITE_SIZE - 1, out=v)
        if self.bend is not None:
            u += self.bend[v]
        np.clip(u, 0, SPRITE_SIZE - 1, out=u)
        cells = v * SPRITE_SIZE + u
        return cells, self.inside.ravel()[cells]

    @staticmethod
    def _along(rows: slice, columns: slice, right: float, below: float, start: float) -> np.ndarray:
        one = 1 << _FRACTION_BITS
        first = round((start + SPRITE_SIZE / 2) * one)
        to_right = round(right * one) * np.arange(columns.stop - columns.start, dtype=np.int32)
        down = first + round(below * one) * np.arange(rows.stop - rows.start, dtype=np.int32)
        return (down[:, None] + to_right[None, :]) >> _FRACTION_BITS


def _darken(canvas: np.ndarray, rows: slice, columns: slice, hit: np.ndarray, offset: int) -> None:
    """Draw the shadow of `hit`, a box of pixels, to the lower right."""
    below = canvas[rows.start + offset : rows.stop + offset, columns.start + offset : columns.stop + offset]
    shade = hit[: below.shape[0], : below.shape[1]]
    below[shade] = (below[shade].astype(np.uint16) * _SHADOW >> 8).astype(np.uint8)


def _expose(scene: Scene, frame: int, canvas: np.ndarray, noise: Draws) -> np.ndarray:
    """Add what a camera adds: soft edges, uneven light and noise."""
    height, width = scene.size
    image = canvas.reshape(height, 3 * width).astype(np.float32)  # rows of bytes: long loops are fast ones
    if scene.is_soft:
        image[:, 3:] = (image[:, 3:] + image[:, :-3]) * np.float32(0.5)
        image[1:] = (image[1:] + image[:-1]) * np.float32(0.5)
    middle, across, down = scene.light[frame]
    column = (np.arange(width, dtype=np.float32) / np.float32(width) - np.float32(0.5)) * across
    row = (np.arange(height, dtype=np.float32) / np.float32(height) - np.float32(0.5)) * down
    image *= (middle + row[:, None]) + column.repeat(3)
    grain = noise.bytes(image.shape) * np.float32(scene.noise / 127.5)
    image += grain
    image -= np.float32(scene.noise)
    np.clip(image, 0, 255, out=image)
    return image.astype(np.uint8).reshape(height, width, 3)
