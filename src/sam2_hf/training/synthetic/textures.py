"""Textures of objects and backgrounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .draws import Draws
from .noise import clouds

Pattern = Callable[[Draws, int], np.ndarray]
Colour = np.ndarray  # (3,) float32, 0 to 255


def draw_texture(draws: Draws, size: int, colours: tuple[Colour, Colour]) -> np.ndarray:
    """Draw a texture (3, size, size) float32 of two colours, with values of about 0 to 255."""
    pattern = PATTERNS[draws.weighted(_FREQUENCY)](draws, size)
    grain = (clouds(draws, size, 16, octaves=2) - np.float32(0.5)) * np.float32(draws.uniform(0, 60))
    first, second = (colour[:, None, None] for colour in colours)
    surface: np.ndarray = pattern * (second - first)
    surface += first
    surface += grain
    return surface


def draw_colours(draws: Draws, away_from: Colour | None = None) -> tuple[Colour, Colour]:
    """Draw two similar colours. With `away_from`, the first is the farthest from it of four."""
    tries = draws.uniforms(15, 240, (1 if away_from is None else 4, 3)).astype(np.float32)
    if away_from is not None:
        distance = np.abs(tries - away_from).sum(axis=1)
        tries = tries[int(distance.argmax()) :]
    first = tries[0]
    other = draws.uniforms(15, 240, 3).astype(np.float32)
    nearness = np.float32(draws.uniform(0.2, 0.9))
    return first, first + (other - first) * nearness


def _plain(draws: Draws, size: int) -> np.ndarray:
    return np.full((size, size), 0.3, np.float32)


def _cloudy(draws: Draws, size: int) -> np.ndarray:
    field = clouds(draws, size, draws.integer(3, 10), octaves=4)
    return np.clip((field - np.float32(0.3)) * np.float32(2.5), 0, 1)


def _gradient(draws: Draws, size: int) -> np.ndarray:
    return _position(draws, size)


def _stripes(draws: Draws, size: int) -> np.ndarray:
    """Bands across some direction, straight or wavy, with hard or soft edges."""
    warp = clouds(draws, size, 4, octaves=1) * np.float32(draws.choose((0.0, 0.0, 0.3)))
    return _wave((_position(draws, size) + warp) * np.float32(draws.uniform(3, 10)), draws.chance(0.6))


def _checks(draws: Draws, size: int) -> np.ndarray:
    count = draws.uniform(2, 7)
    position = np.arange(size, dtype=np.float32) * np.float32(count / size)
    tile = position.astype(np.int64) % 2
    return (tile[:, None] ^ tile[None, :]).astype(np.float32)


def _spots(draws: Draws, size: int) -> np.ndarray:
    """Dots in rows."""
    count, radius = draws.uniform(3, 8), draws.uniform(0.2, 0.4)
    position = np.arange(size, dtype=np.float32) * np.float32(count / size)
    off = position - position.astype(np.int64) - np.float32(0.5)
    return (off[:, None] * off[:, None] + off * off < np.float32(radius * radius)).astype(np.float32)


def _layers(draws: Draws, size: int) -> np.ndarray:
    """Contour lines of clouds, as in wood and marble."""
    return _wave(clouds(draws, size, 3, octaves=2) * np.float32(draws.uniform(3, 8)), draws.chance(0.5))


def _position(draws: Draws, size: int) -> np.ndarray:
    """Draw a ramp from 0 to about 1 along a random direction."""
    angle = draws.uniform(0, 2 * math.pi)
    along = np.arange(size, dtype=np.float32) * np.float32(1 / size) - np.float32(0.5)
    cosine, sine = (np.float32(round(f(angle), 6)) for f in (math.cos, math.sin))
    return along[None, :] * cosine + along[:, None] * sine + np.float32(0.5)


def _wave(phase: np.ndarray, hard: bool) -> np.ndarray:
    """Compute a wave of period 1 between 0 and 1."""
    fraction = phase - np.floor(phase)
    return (fraction < np.float32(0.5)).astype(np.float32) if hard else np.abs(2 * fraction - 1)


PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "cloudy": _cloudy,
    "gradient": _gradient,
    "stripes": _stripes,
    "checks": _checks,
    "spots": _spots,
    "layers": _layers,
}
_FREQUENCY = {
    "plain": 2.0,
    "cloudy": 3.0,
    "gradient": 1.5,
    "stripes": 1.5,
    "checks": 0.7,
    "spots": 1.0,
    "layers": 1.5,
}
