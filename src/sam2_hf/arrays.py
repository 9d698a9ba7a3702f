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


def all_moved_to(arrays: Sequence[Array], device: Any) -> list[Array]:
    """Bring arrays of one kind to a device."""
    return [array.to(device) for array in arrays] if arrays and is_tensor(arrays[0]) else list(arrays)


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


def dtype_name(array: Array) -> str:
    """Name the type of an array's numbers, such as "uint8" or "bool"."""
    return str(array.dtype).removeprefix("torch.")


def is_floating(array: Array) -> bool:
    """Whether an array holds floating-point numbers."""
    return bool(array.is_floating_point()) if is_tensor(array) else array.dtype.kind == "f"


def cast(array: Array, dtype: str) -> Array:
    """Convert an array's numbers to the type of that name; an array of the type already stays."""
    if is_tensor(array):
        import torch

        return array.to(getattr(torch, dtype))
    return array.astype(dtype, copy=False)


def limits(array: Array) -> tuple[Any, Any]:
    """Find the least and the greatest number of an array, NaN if there is one."""
    if is_tensor(array):
        least, greatest = array.detach().aminmax()
        return least.item(), greatest.item()
    return array.min().item(), array.max().item()


def like(values: Any, array: Array, dtype: str | None = None) -> Array:
    """Make an array of numbers, of the kind and on the device of another array; its dtype unless one is named."""
    if is_tensor(array):
        import torch

        # On the CPU first, whatever default device a program sets; then there, without waiting for the work under way.
        there = torch.as_tensor(values, dtype=array.dtype if dtype is None else getattr(torch, dtype), device="cpu")
        from_cpu = array.device.type == "cuda"
        return (there.pin_memory() if from_cpu else there).to(array.device, non_blocking=from_cpu)
    return np.asarray(values, array.dtype if dtype is None else dtype)


def mix(start: Array, end: Array, weight: Array) -> Array:
    """Mix arrays by a weight of `end` from 0 to 1, at both ends of which the result is exact."""
    if is_tensor(end):
        import torch

        return torch.lerp(start.expand_as(end), end, weight)
    return np.where(weight < 0.5, start + weight * (end - start), end - (end - start) * (1 - weight))


def again(result: np.ndarray, array: Array) -> Array:
    """Give a result of NumPy as what it was computed from: a tensor of the same memory, or itself."""
    if not is_tensor(array):
        return result
    import torch

    return torch.from_numpy(result)


def empty(shape: tuple[int, ...], dtype: str, array: Array) -> Array:
    """Make an array of any values, of the kind and on the device of another array."""
    if is_tensor(array):
        import torch

        return torch.empty(shape, dtype=getattr(torch, dtype), device=array.device)
    return np.empty(shape, dtype)
