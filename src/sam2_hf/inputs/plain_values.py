"""Arrays and tensors of every kind, refused or made plain: dense, real numbers, native byte order, no gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import is_tensor

if TYPE_CHECKING:
    import torch


def plain_tensor(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """Check a tensor and detach it from its gradients.

    Args:
        tensor: of any device and dtype.
        name: what an error calls it.

    Raises:
        TypeError: a tensor that is not dense, has no values, or does not hold real numbers.
    """
    check_plain_tensor(tensor, name)
    return tensor.detach()


def check_plain_tensor(tensor: torch.Tensor, name: str) -> None:
    """Refuse a tensor that is not dense, has no values, or does not hold real numbers.

    Args:
        tensor: of any device and dtype.
        name: what an error calls it.

    Raises:
        TypeError: names the tensor and what it is.
    """
    kind = None
    if tensor.is_nested:
        kind = "nested"
    elif str(tensor.layout) != "torch.strided":
        kind = "sparse"
    elif tensor.is_quantized:
        kind = "quantised"
    elif tensor.is_meta:
        kind = "meta"
    elif tensor.is_complex():
        kind = "complex"
    if kind is not None:
        raise TypeError(f"{name} must be a dense tensor of real numbers, got a {kind} tensor")


def check_model_tensor(tensor: Any, name: str) -> None:
    """Refuse what a model cannot compute with. Tensors without values are for models without values.

    Args:
        tensor: what was given in place of a tensor.
        name: what an error calls it.

    Raises:
        TypeError: no tensor, or one that is not dense or does not hold real numbers.
    """
    if not is_tensor(tensor):
        raise TypeError(
            f"{name} must be a tensor, got {type(tensor).__name__}; a processor makes tensors of images and prompts, "
            "and a model takes them by their names: model(**inputs)"
        )
    if not tensor.is_meta:
        check_plain_tensor(tensor, name)


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity, as far as that can be told without waiting.

    On an accelerator nothing is looked at, since that would wait for all work that it still has to do: always True.

    Args:
        tensor: of any device and dtype.
    """
    if tensor.device.type != "cpu" or not tensor.is_floating_point():
        return True
    values = tensor.detach()
    if values.dtype.itemsize == 1:  # torch cannot add numbers of eight bits
        values = values.float()
    # One pass. A sum that is not finite may have overflowed, so only then each value is looked at.
    return math.isfinite(values.sum().item()) or bool(values.isfinite().all())


def plain_array(value: Any, name: str) -> np.ndarray:
    """Read an array, or what can be made one, for `torch.from_numpy`.

    Args:
        value: an array, an image, or anything with `__array__`.
        name: what an error calls it.

    Returns:
        The array, or a copy of it where torch could not share its memory.

    Raises:
        TypeError: a masked array, or values that are not real numbers.
        ValueError: lists of different lengths.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array: give its filled() values")
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{name} must be an array, or nested lists of equal lengths: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got an array of {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch takes neither a frozen buffer nor a reversed axis
    return array
