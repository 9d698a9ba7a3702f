"""Random numbers that are the same on every machine."""

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
        """Start the stream of some non-negative numbers."""
        # NumPy pads short keys with zeros; the length distinguishes (1,) from (1, 0).
        self._bits = np.random.PCG64(np.random.SeedSequence([len(key), *key]))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a number in [low, high)."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def uniforms(self, low: float, high: float, shape: Shape) -> np.ndarray:
        """Draw numbers in [low, high), float64."""
        count = int(np.prod(shape))
        unit = (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53
        return (low + (high - low) * unit).reshape(shape)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from low to high, both included."""
        return low + int(self.uniform(0, high - low + 1))

    def chance(self, probability: float) -> bool:
        """Draw True with a probability."""
        return self.uniform() < probability

    def choose(self, items: Sequence[Item]) -> Item:
        """Draw one of the items, all equally likely."""
        return items[self.integer(0, len(items) - 1)]

    def weighted(self, weights: dict[Item, float]) -> Item:
        """Draw one of the keys, in proportion to its weight."""
        rest = self.uniform(0, sum(weights.values()))
        *items, last = weights
        for item in items:
            rest -= weights[item]
            if rest < 0:
                return item
        return last

    def bytes(self, shape: Shape) -> np.ndarray:
        """Draw uint8 numbers, eight of them from one number of the stream."""
        count = int(np.prod(shape))
        words = self._bits.random_raw((count + 7) // 8).astype("<u8")
        return words.view(np.uint8)[:count].reshape(shape)
