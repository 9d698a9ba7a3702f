"""Outlines of shapes, as fields over the square from -1 to 1 that are positive inside.

Fields are (size, size) float32, and negative outside the unit disc. They need not be distances, only change sign at
the outline; two of them can be blended to let one shape turn into another.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .draws import Draws
from .noise import clouds

WALL_HALF = (0.55, 0.8)  # width and height

Outline = Callable[[Draws, np.ndarray, np.ndarray], np.ndarray]


def draw_outline(draws: Draws, size: int) -> np.ndarray:
    """Draw the field of a random shape."""
    x, y = _grid(size)
    field = OUTLINES[draws.weighted(_FREQUENCY)](draws, x, y)
    return np.minimum(field, 1 - x * x - y * y)


def draw_wall(draws: Draws, size: int) -> np.ndarray:
    """Draw the field of a wall to hide behind, at times with a ragged edge; `WALL_HALF` holds half its sides."""
    x, y = _grid(size)
    ragged = clouds(draws, size, 6) * np.float32(draws.choose((0.0, 0.0, 0.12)))
    half_width, half_height = (np.float32(half) for half in WALL_HALF)
    return np.minimum(half_width - np.abs(x), half_height - np.abs(y)) - ragged


def draw_patch(draws: Draws, size: int) -> np.ndarray:
    """Draw the field of a part of an object that has another texture."""
    x, y = _grid(size)
    angle = draws.uniform(0, 2 * math.pi)
    along = x * _rounded(math.cos(angle)) + y * _rounded(math.sin(angle))
    if draws.chance(0.5):
        return along - np.float32(draws.uniform(-0.3, 0.3))
    off, radius = draws.uniforms(-0.4, 0.4, 2), draws.uniform(0.2, 0.45)
    return _disc(x, y, off[0], off[1], radius, radius * draws.uniform(0.6, 1.0))


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (1, size) and y (size, 1), the centres of the cells."""
    middle = (2 * np.arange(size, dtype=np.float32) + 1) / np.float32(size) - 1
    return middle[None, :], middle[:, None]


def _rounded(value: float) -> np.float32:
    """Round a sine or cosine, whose last digits differ between machines."""
    return np.float32(round(value, 6))


def _disc(x: np.ndarray, y: np.ndarray, left: float, top: float, wide: float, high: float) -> np.ndarray:
    dx, dy = (x - np.float32(left)) * np.float32(1 / wide), (y - np.float32(top)) * np.float32(1 / high)
    return 1 - dx * dx - dy * dy


def _ellipse(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _disc(x, y, 0, 0, 0.97, draws.uniform(0.45, 0.97))


def _box(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A rectangle with corners between sharp and round: |x|^p + |y|^p < 1 with p of 4, 8 or very large."""
    high = draws.uniform(0.35, 0.7)
    x, y = x * np.float32(1 / 0.7), y * np.float32(1 / high)
    x, y = x * x, y * y
    power = draws.choose((2, 4, 0))
    if power == 0:
        return 1 - np.maximum(x, y)
    for _ in range(power.bit_length() - 1):
        x, y = x * x, y * y
    return 1 - x - y


def _polygon(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A convex polygon with corners on a circle."""
    corners = draws.integer(3, 7)
    angles = (np.arange(corners) + draws.uniforms(-0.3, 0.3, corners)) * (2 * math.pi / corners)
    points = [(0.97 * math.cos(angle), 0.97 * math.sin(angle)) for angle in angles]
    field = np.full(np.broadcast_shapes(x.shape, y.shape), 1, np.float32)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        length = math.hypot(x1 - x0, y1 - y0)
        normal = _rounded((y1 - y0) / length), _rounded((x0 - x1) / length)
        offset = _rounded((x0 * (y1 - y0) + y0 * (x0 - x1)) / length)
        field = np.minimum(field, offset - normal[0] * x - normal[1] * y)
    return field


def _star(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spikes around a disc; every spike is the intersection of two half-planes."""
    spikes, waist = draws.integer(4, 7), draws.uniform(0.35, 0.55)
    turn = draws.uniform(0, 2 * math.pi)
    field = _disc(x, y, 0, 0, waist, waist)
    half = math.pi / spikes
    for index in range(spikes):
        angle = turn + 2 * half * index
        along = x * _rounded(math.cos(angle)) + y * _rounded(math.sin(angle))
        across = np.abs(y * _rounded(math.cos(angle)) - x * _rounded(math.sin(angle)))
        slope = waist * math.sin(half) / (0.97 - waist * math.cos(half))
        spike = np.minimum(along, (np.float32(0.97) - along) * _rounded(slope) - across)
        field = np.maximum(field, spike)
    return field


def _blob(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A disc with an irregular outline."""
    wander = clouds(draws, x.shape[1], draws.integer(3, 5), octaves=2) - np.float32(0.5)
    return np.float32(0.45) - x * x - y * y + np.float32(draws.uniform(0.6, 1.3)) * wander


def _ring(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    hole = draws.uniform(0.3, 0.55)
    return np.minimum(_ellipse(draws, x, y), -_disc(x, y, 0, 0, hole, hole))


def _crescent(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    off, radius = draws.uniform(0.4, 0.6), draws.uniform(0.55, 0.75)
    return np.minimum(_disc(x, y, 0, 0, 0.97, 0.97), -_disc(x, y, off, 0, radius, radius))


def _bar(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A long bar with round ends."""
    thick = draws.uniform(0.18, 0.3)
    beyond = np.maximum(np.abs(x) - np.float32(0.96 - thick), 0)
    return np.float32(thick * thick) - beyond * beyond - y * y


def _figure(draws: Draws, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A body with a head and limbs: discs that overlap."""
    field = _disc(x, y, 0, 0, draws.uniform(0.45, 0.6), draws.uniform(0.3, 0.55))
    for _ in range(draws.integer(2, 5)):
        angle, reach = draws.uniform(0, 2 * math.pi), draws.uniform(0.4, 0.65)
        wide, high = draws.uniforms(0.15, 0.32, 2)
        centre = float(_rounded(reach * math.cos(angle))), float(_rounded(reach * math.sin(angle)))
        field = np.maximum(field, _disc(x, y, *centre, wide, high))
    return field


OUTLINES: dict[str, Outline] = {
    "ellipse": _ellipse,
    "box": _box,
    "polygon": _polygon,
    "star": _star,
    "blob": _blob,
    "ring": _ring,
    "crescent": _crescent,
    "bar": _bar,
    "figure": _figure,
}
_FREQUENCY = {
    "ellipse": 2.0,
    "box": 2.0,
    "polygon": 2.0,
    "star": 1.5,
    "blob": 3.0,
    "ring": 0.7,
    "crescent": 1.0,
    "bar": 1.0,
    "figure": 3.0,
}
