"""How a step brings arrays to the model: what differs between tensors on a device and NumPy arrays."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from ..arrays import Array
from .stored_arrays import from_bfloat16


class ModelArrays(Protocol):
    """What a `FrameStep` asks for."""

    def take(self, values: Any, dtype: str | None = None) -> Array:
        """Bring an array, or nested lists of numbers, to where the model computes; lists in the dtype named."""

    def take_memories(self, features: Array) -> Array:
        """Bring memory features there, as they were stored."""

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        """Make an array there of one value, float32."""

    def stacking(self) -> AbstractContextManager[Any]:
        """Give a context to join stored arrays in."""


class NumpyArrays:
    """NumPy arrays, which lie where they are."""

    def take(self, values: Any, dtype: str | None = None) -> np.ndarray:
        """Make an array of nested lists; an array stays as it is."""
        return np.asarray(values, dtype)

    def take_memories(self, features: np.ndarray) -> np.ndarray:
        """Read stored memory features as float32."""
        return from_bfloat16(features)

    def full(self, shape: tuple[int, ...], value: float) -> np.ndarray:
        """Make an array of one value, float32."""
        return np.full(shape, value, np.float32)

    def stacking(self) -> AbstractContextManager[Any]:
        """Nothing needs to be done."""
        return nullcontext()
