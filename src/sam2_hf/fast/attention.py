"""Attention that learns in half precision on a CPU.

The backward pass of torch's fused kernel would be the slowest part of a training by far there: in a small trunk it took
16 times its forward pass, and more than all other layers together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Of a head, as far as they are spelled out: those of a thousand positions with each other. More would fill the memory.
MOST_SCORES = 2**20


def suits_training(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> bool:
    """Whether `attend` learns in half precision on a CPU, and the scores are few."""
    if not query.requires_grad or query.device.type != "cpu" or need_weights:
        return False
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    is_small = query.shape[-2] * key.shape[-2] <= MOST_SCORES
    is_stock = (getattr(module.config, "_attn_implementation", None) or "sdpa") == "sdpa"
    return is_half and is_small and is_stock


def attend_in_half(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[Tensor, None]:
    """`eager_attention` without its weights in float32, which is twice as fast.

    Softmax adds up in float32 anyhow, and its result is rounded in either case. Arguments and result as of `attend`.
    """
    key, value = key.to(query.dtype), value.to(query.dtype)
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * scaling) @ key.transpose(-2, -1)
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, float("-inf"))
        elif mask is not None:
            scores = scores + mask.to(query.dtype)
        weights = F.dropout(scores.softmax(dim=-1), p=dropout if module.training else 0.0)
        return (weights @ value).transpose(1, 2), None
