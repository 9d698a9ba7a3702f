"""The feature pyramid on top of the trunk: from the trunk's stages to image features of one width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from ..configuration_sam2 import Sam2VisionConfig
from ..fast.dispatch import suit as fast_paths_suit


class FpnNeck(nn.Module):
    """Feature pyramid network (arXiv 1612.03144) with lateral 1x1 convolutions and nearest-neighbour upsampling.

    `convs` are ordered from low to high resolution, as the checkpoints have them.
    """

    def __init__(self, config: Sam2VisionConfig):
        super().__init__()
        self.top_down_levels = set(config.fpn_top_down_levels)
        self.num_levels = config.num_feature_levels
        self.convs = nn.ModuleList(
            nn.Conv2d(
                channels,
                config.fpn_hidden_size,
                kernel_size=config.fpn_kernel_size,
                stride=config.fpn_stride,
                padding=config.fpn_padding,
            )
            for channels in config.backbone_channel_list
        )

    def forward(self, stages: Sequence[torch.Tensor], narrowing: Sequence[nn.Conv2d] = ()) -> tuple[torch.Tensor, ...]:
        """Stages (B, H, W, C), from high to low resolution, to `num_feature_levels` maps (B, C, H, W) in that order.

        The level below those kept feeds them and is not returned. The first levels go on through the 1x1 convolutions
        in `narrowing`, one each.
        """
        levels: list[torch.Tensor] = []
        above = None
        for level in reversed(range(len(stages))):
            conv = cast("nn.Conv2d", self.convs[len(stages) - 1 - level])
            if level < len(narrowing) and self._is_alone(level) and _may_merge(conv, narrowing[level], stages[level]):
                levels.insert(0, _both(conv, narrowing[level], stages[level]))
                continue
            lateral = _pointwise(conv, stages[level])
            if above is not None and level in self.top_down_levels:
                lateral = lateral + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = lateral
            levels.insert(0, narrowing[level](lateral) if level < len(narrowing) else lateral)
        return tuple(levels[: self.num_levels])

    def _is_alone(self, level: int) -> bool:
        """Whether nothing is added to the level, and it to no other."""
        return level not in self.top_down_levels and level - 1 not in self.top_down_levels


def _pointwise(conv: nn.Conv2d, features: torch.Tensor) -> torch.Tensor:
    """A convolution of a map (B, H, W, C) to (B, C', H, W)."""
    if _may_merge(conv, conv, features):
        # A 1x1 convolution is a linear layer, of which the channels lie where they are wanted.
        return F.linear(features, conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)
    return conv(features.permute(0, 3, 1, 2))


def _both(first: nn.Conv2d, second: nn.Conv2d, features: torch.Tensor) -> torch.Tensor:
    """Two 1x1 convolutions as one, without the wide map between them: W2 (W1 x + b1) + b2 = (W2 W1) x + W2 b1 + b2."""
    assert first.bias is not None and second.bias is not None  # or they may not merge
    wide = second.weight.flatten(1)
    bias = torch.addmv(second.bias, wide, first.bias)
    return F.linear(features, wide @ first.weight.flatten(1), bias).permute(0, 3, 1, 2)


def _may_merge(first: nn.Conv2d, second: nn.Conv2d, features: torch.Tensor) -> bool:
    """Whether both are 1x1 convolutions with biases, whose weights may be read where the map lies."""
    return fast_paths_suit(features, keeps_gradients=True) and all(
        type(conv) is nn.Conv2d
        and conv.kernel_size == conv.stride == (1, 1)
        and conv.padding == (0, 0)
        and conv.bias is not None
        and conv.weight.device == features.device
        for conv in (first, second)
    )
