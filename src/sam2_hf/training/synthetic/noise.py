"""Smooth random fields for textures, blobs and backgrounds."""

from __future__ import annotations

import numpy as np

from .draws import Draws


def clouds(draws: Draws, size: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Draw a field (size, size) float32 with values in [0, 1) whose largest features are `size / cells` wide.

    Value noise: random numbers on a lattice, interpolated; every octave is twice as fine and half as strong.
    """
    field = np.zeros((size, size), np.float32)
    total = 0.0
    for octave in range(octaves):
        strength = 0.5**octave
        total += strength
        field += np.float32(strength) * _lattice(draws, size, min(cells * 2**octave, size))
    return field * np.float32(1 / total)


def _lattice(draws: Draws, size: int, cells: int) -> np.ndarray:
    values = draws.uniforms(0, 1, (cells + 1, cells + 1)).astype(np.float32)
    position = np.arange(size, dtype=np.float32) * np.float32(cells / size)
    index = position.astype(np.int64)
    fraction = position - index
    weight = fraction * fraction * (3 - 2 * fraction)
    rows = _blend(values[index], values[index + 1], weight[:, None])
    return _blend(rows[:, index], rows[:, index + 1], weight[None, :])


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return first + (second - first) * weight
