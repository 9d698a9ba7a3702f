"""How a session keeps tensors: copied to its device, memory features in half the space."""

from __future__ import annotations

import torch
from torch import Tensor

# Memory features are kept in half the space, whatever the model computes in; the official code does the same.
MEMORY_DTYPE = torch.bfloat16


def stored_tensor(tensor: Tensor, device: torch.device, is_memory: bool) -> Tensor:
    """Copy a tensor to a device, memory features in `MEMORY_DTYPE`; the copy shares no memory."""
    return tensor.to(device, MEMORY_DTYPE if is_memory else tensor.dtype, copy=True)
