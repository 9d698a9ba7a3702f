"""The feature pyramid on top of the trunk: from the trunk's stages to image features of one width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ..configuration_sam2 import Sam2VisionConfig
from .layers import replaceable


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

    @replaceable
    def forward(
        self, stages: Sequence[torch.Tensor], projections: Sequence[nn.Conv2d] = ()
    ) -> tuple[torch.Tensor, ...]:
        """Builds the pyramid.

        Args:
            stages: maps (B, H, W, C), from high to low resolution. The level below those kept feeds them and is not
                returned.
            projections: 1x1 convolutions through which the first levels go on, one each.

        Returns:
            `num_feature_levels` maps (B, C, H, W), from high to low resolution.
        """
        levels: list[torch.Tensor] = []
        above = None
        for level in reversed(range(len(stages))):
            lateral = self.convs[len(stages) - 1 - level](stages[level].permute(0, 3, 1, 2))
            if above is not None and level in self.top_down_levels:
                lateral = lateral + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = lateral
            levels.insert(0, projections[level](lateral) if level < len(projections) else lateral)
        return tuple(levels[: self.num_levels])
