"""How a session keeps arrays: as copies, since a view of a batch would keep the other objects' rows alive.

Memory features are bfloat16. NumPy has no such type: there, an array of its bits stands for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, copied_to, is_tensor


def stored(array: Array, device: Any, is_memory: bool = False) -> Array:
    """Copy an array as a session keeps it.

    Args:
        array: a tensor or a NumPy array.
        device: where a tensor is kept.
        is_memory: whether these are features of a memory, which are kept in half the space.
    """
    if is_memory and is_tensor(array):
        from .stored_tensors import stored_tensor

        return stored_tensor(array, device, is_memory)
    if is_memory and array.dtype != np.uint16:
        return to_bfloat16(array)
    return copied_to(array, device)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round finite float32 values to bfloat16, ties to even as torch does: uint16, its bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Read bits of bfloat16 as float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
