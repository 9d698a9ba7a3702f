"""Tensors and numbers on their way to a device, without waiting for the work under way there."""

from __future__ import annotations

from typing import Any

import torch


def ready_to_send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor, moved to pinned memory if it is on the CPU and bound for a CUDA device.

    Only from memory that the system cannot move does a copy run by itself; from elsewhere, the CPU waits until all work
    that the device has is done.
    """
    return tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor


def send(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor, or numbers nested in lists, on a device, without waiting for the work under way there."""
    # Numbers become a tensor on the CPU first, whatever default a program sets.
    tensor = values if isinstance(values, torch.Tensor) else torch.as_tensor(values, dtype=dtype, device="cpu")
    # Back from a device the CPU must wait, or it would read before the data are there.
    by_itself = device.type == "cuda" and tensor.device.type == "cpu"
    return ready_to_send(tensor, device).to(device, non_blocking=by_itself)
