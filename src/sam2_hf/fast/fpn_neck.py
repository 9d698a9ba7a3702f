"""The feature pyramid as products of matrices.

A 1x1 convolution is a linear layer; the trunk's maps have their channels last, where such a layer wants them. Two of
them in a row, with nothing added between, are one: W2 (W1 x + b1) + b2 = (W2 W1) x + W2 b1 + b2. Then the wide map
between them is never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conditions import may_read_weights, suit

if TYPE_CHECKING:
    from ..network.fpn_neck import FpnNeck


def suits_pyramid(neck: FpnNeck, stages: Sequence[Tensor], projections: Sequence[nn.Conv2d] = ()) -> bool:
    """Whether all convolutions are 1x1, with biases, and their weights may be read; also in training."""
    return suit(stages[0], keeps_gradients=True) and all(map(_is_linear, (*neck.convs, *projections)))


def _is_linear(conv: nn.Module) -> bool:
    return (
        may_read_weights(conv)
        and isinstance(conv, nn.Conv2d)
        and conv.kernel_size == conv.stride == (1, 1)
        and conv.padding == (0, 0)
        and conv.bias is not None
    )


def build_pyramid(neck: FpnNeck, stages: Sequence[Tensor], projections: Sequence[nn.Conv2d] = ()) -> tuple[Tensor, ...]:
    """`FpnNeck.forward`: stages (B, H, W, C) to maps (B, C, H, W)."""
    levels: list[Tensor] = []
    above = None
    for level in reversed(range(len(stages))):
        conv = cast("nn.Conv2d", neck.convs[len(stages) - 1 - level])
        receives, gives = (number in neck.top_down_levels for number in (level, level - 1))
        if level < len(projections) and not receives and not gives:
            levels.insert(0, _pointwise_twice(conv, projections[level], stages[level]))
            continue
        lateral = F.linear(stages[level], conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)
        if above is not None and receives:
            lateral = lateral + F.interpolate(above, scale_factor=2.0, mode="nearest")
        above = lateral
        levels.insert(0, projections[level](lateral) if level < len(projections) else lateral)
    return tuple(levels[: neck.num_levels])


def _pointwise_twice(first: nn.Conv2d, second: nn.Conv2d, features: Tensor) -> Tensor:
    """Two 1x1 convolutions of a map (B, H, W, C) as one, to (B, C', H, W)."""
    assert first.bias is not None and second.bias is not None  # or it does not suit
    wide = second.weight.flatten(1)
    bias = torch.addmv(second.bias, wide, first.bias)
    return F.linear(features, wide @ first.weight.flatten(1), bias).permute(0, 3, 1, 2)
