"""Operations on NumPy arrays and on torch tensors, for code that serves both.

What is written with these, and with what both have in common (indexing, arithmetic, comparisons, `reshape`, `clip`,
`tolist`), computes with torch on any device and with NumPy where torch is not installed. torch is imported here
for those alone who have a tensor, and so have imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A NumPy array or a torch tensor. All arrays of a call are of one kind, and tensors on one device."""


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of torch."""
    tensor_class = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor_class is not None and isinstance(value, tensor_class)


def to_numpy(array: Array) -> np.ndarray:
    """Give an array to NumPy; a tensor on the CPU shares its memory."""
    return array.detach().cpu().numpy() if is_tensor(array) else np.asarray(array)


def beside(array: Array, other: Array) -> Array:
    """Bring an array to the device of another one."""
    return moved_to(array, other.device) if is_tensor(array) else array


def moved_to(array: Array, device: Any) -> Array:
    """Bring an array to a device; NumPy has but one."""
    return array.to(device) if is_tensor(array) else array


def copied_to(array: Array, device: Any) -> Array:
    """Copy an array to a device; the copy shares no memory. NumPy has but one device, and takes None for it."""
    return array.to(device, copy=True) if is_tensor(array) else array.copy()


def index_beside(count: int, other: Array) -> Array:
    """Number from 0 to `count` - 1, int64, on the device of another array."""
    if is_tensor(other):
        import torch

        return torch.arange(count, device=other.device)
    return np.arange(count)


def is_on_accelerator(array: Array) -> bool:
    """Whether reading an array's values waits for a device."""
    return is_tensor(array) and array.device.type != "cpu"


def lower_at(array: Array, index: Array, values: Array) -> Array:
    """Copy an array (K,) with its values at indices (L,) lowered to others (L,); of several, the lowest counts."""
    if is_tensor(array):
        return array.scatter_reduce(0, index, values, "amin")
    lowered = array.copy()
    np.minimum.at(lowered, index, values)
    return lowered


def count_each(numbers: Array, length: int) -> Array:
    """Count how often each number from 0 to `length` - 1 is there."""
    if is_tensor(numbers):
        return numbers.new_zeros(length).scatter_add_(0, numbers, numbers.new_ones(numbers.shape))
    return np.bincount(numbers, minlength=length)


def stack(arrays: Sequence[Array]) -> Array:
    """Lay arrays of one shape one behind the other, on a new axis in front."""
    if is_tensor(arrays[0]):
        import torch

        return torch.stack(list(arrays))
    return np.stack(arrays)


def concatenate(arrays: Sequence[Array], axis: int = 0) -> Array:
    """Join arrays along an axis that they have."""
    if is_tensor(arrays[0]):
        import torch

        return torch.cat(list(arrays), dim=axis)
    return np.concatenate(arrays, axis=axis)


def where(condition: Array, yes: Array, no: Array) -> Array:
    """Choose from two arrays, or from an array and a number, by a bool array."""
    if is_tensor(condition):
        import torch

        return torch.where(condition, yes, no)
    return np.where(condition, yes, no)
