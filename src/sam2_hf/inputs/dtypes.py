"""Dtypes as people name them."""

from __future__ import annotations

import torch


def read_dtype(dtype: torch.dtype | str, name: str = "dtype") -> torch.dtype:
    """Return a floating-point dtype from itself or its name, such as "bfloat16" or "torch.float16".

    Args:
        dtype: the dtype or its name.
        name: what an error calls it.

    Raises:
        ValueError: if it is no floating-point dtype.
    """
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(
            f'{name} must be a floating-point dtype of torch or its name, such as "bfloat16", got {dtype!r}'
        )
    return found
