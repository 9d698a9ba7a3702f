"""Random numbers that are the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Shape = int | tuple[int, ...]


class Draws:
    """Random numbers from the raw 64-bit stream of PCG64.

    NumPy guarantees that stream, but not what its `Generator` makes of it, so the few distributions are made here.
    """

    def __init__(self, *key: int):
        """The stream that belongs to some non-negative numbers."""
        # NumPy fills short keys up with zeros; their length tells (1,) from (1, 0).
        self._bits = np.random.PCG64(np.random.SeedSequence([len(key), *key]))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def uniforms(self, low: float, high: float, shape: Shape) -> np.ndarray:
        """Numbers in [low, high), float64."""
        count = int(np.prod(shape))
        unit = (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53
        return (low + (high - low) * unit).reshape(shape)

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.uniform(0, high - low + 1))

    def chance(self, probability: float) -> bool:
        """True as often as the probability says."""
        return self.uniform() < probability

    def choose(self, items: Sequence[Item]) -> Item:
        """One of the items, all equally likely."""
        return items[self.integer(0, len(items) - 1)]

    def weighted(self, weights: dict[Item, float]) -> Item:
        """One of the keys, as often as its weight says."""
        place = self.uniform(0, sum(weights.values()))
        *items, last = weights
        for item in items:
            place -= weights[item]
            if place < 0:
                return item
        return last

    def bytes(self, shape: Shape) -> np.ndarray:
        """uint8, eight of them from one draw."""
        count = int(np.prod(shape))
        words = self._bits.random_raw((count + 7) // 8).astype("<u8")
        return words.view(np.uint8)[:count].reshape(shape)
