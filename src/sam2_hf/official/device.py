"""Where Meta's code would compute, and where that can be done here."""

from __future__ import annotations

import warnings
from typing import Any

import torch


def as_device(device: Any) -> torch.device:
    """The device, or the CPU with one warning a process where CUDA is asked for and missing.

    Args:
        device: a name or a `torch.device`; None for CUDA.

    Raises:
        RuntimeError: for a name that torch does not know.
    """
    wanted = torch.device("cuda" if device is None else device)
    if wanted.type != "cuda" or torch.cuda.is_available():
        return wanted
    _warn_once()
    return torch.device("cpu")


_warned: list[bool] = []


def _warn_once() -> None:
    if not _warned:
        _warned.append(True)
        warnings.warn(
            "CUDA is not available, so the model runs on the CPU; device='cpu' says so without this warning",
            UserWarning,
            stacklevel=4,
        )
