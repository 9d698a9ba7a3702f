"""Values of a saved session as they are read: each is checked before it is taken, for the file may be from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from ..arrays import Array, dtype_name, is_floating, is_tensor
from .memory.policy import PolicyState

Value = TypeVar("Value")


def tensor_of(tensors: dict[str, Array], name: str, axes: str, floating: bool = True) -> Array:
    """A tensor that was stored, with as many axes as there are letters; a digit is the length of its axis.

    Raises:
        KeyError: if there is no such tensor.
        ValueError: if it has other axes or another kind of numbers.
    """
    tensor = tensors[name]
    fits = tensor.ndim == len(axes) and all(
        not axis.isdigit() or int(axis) == length for axis, length in zip(axes, tensor.shape, strict=True)
    )
    if not fits or _is_floating(tensor) != floating:
        kind = "floating-point" if floating else "integer or bool"
        raise ValueError(
            f"{name} must be {kind} with the axes ({', '.join(axes)}), got {tensor.dtype} {tuple(tensor.shape)}"
        )
    return tensor


def optional_tensor(tensors: dict[str, Array], name: str, axes: str) -> Array | None:
    """Like `tensor_of`; None if there is no such tensor."""
    return tensor_of(tensors, name, axes) if name in tensors else None


def count(stored: Any) -> int:
    """A number from 0 up.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(stored, bool) or not isinstance(stored, int) or stored < 0:
        raise ValueError(f"expected a number from 0 up, got {stored!r}")
    return stored


def optional_count(stored: Any) -> int | None:
    """Like `count`; None stays None."""
    return None if stored is None else count(stored)


def entry_of(values: Sequence[Value], index: int, name: str) -> Value:
    """The entry of a table that another one names.

    Raises:
        ValueError: if there is none.
    """
    if not 0 <= index < len(values):
        raise ValueError(f"{name} must be in 0..{len(values) - 1}, got {index}")
    return values[index]


def describe_state(state: PolicyState, prefix: str, tensors: dict[str, Array]) -> dict[str, Any]:
    """Put the tensors of a policy's state among the others, and return its plain values and the tensors' names."""
    found = {name: value for name, value in state.items() if _is_array(value)}
    tensors.update({f"{prefix}.{name}": value for name, value in found.items()})
    return {
        "values": {name: value for name, value in state.items() if name not in found},
        "tensors": list(found),
    }


def build_state(stored: dict[str, Any], prefix: str, tensors: dict[str, Array]) -> PolicyState:
    """Read what `describe_state` gave."""
    return {**stored["values"], **{name: tensors[f"{prefix}.{name}"] for name in stored["tensors"]}}


def _is_array(value: Any) -> bool:
    return is_tensor(value) or isinstance(value, np.ndarray)


def _is_floating(array: Array) -> bool:
    """Whether an array holds floating-point numbers, bits of bfloat16 included."""
    return is_floating(array) or dtype_name(array) == "uint16"
