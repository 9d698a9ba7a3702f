"""Memory encoder: what a frame will be remembered by, made from its features and the mask of an object in it.

Axes in docstrings: B frames, N masks (objects of these frames), C hidden width, D memory width, H and W the mask, h and
w the feature map.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714), section 4, memory encoder; the
fuser's block: Liu et al., "A ConvNet for the 2020s" (arXiv 2201.03545).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .layers import LayerNorm2d, is_exported, sine_position_encoding

if TYPE_CHECKING:
    from ..configuration_sam2 import Sam2VideoConfig

NORM_EPS = 1e-6


class MaskDownsamplerLayer(nn.Module):
    """One step down: a strided convolution, a norm over channels, an activation."""

    def __init__(self, config: Sam2VideoConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size=config.mask_downsampler_kernel_size,
            stride=config.mask_downsampler_stride,
            padding=config.mask_downsampler_padding,
        )
        self.layer_norm = LayerNorm2d(out_channels, eps=NORM_EPS)
        self.activation = ACT2FN[config.mask_downsampler_hidden_act]

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.layer_norm(self.conv(features)))


class MaskDownsampler(nn.Module):
    """Brings a mask to the size of the feature map; channels grow as positions get fewer."""

    def __init__(self, config: Sam2VideoConfig):
        super().__init__()
        stride, total = config.mask_downsampler_stride, config.mask_downsampler_total_stride
        steps = round(math.log(total, stride)) if stride > 1 else 0
        if stride**steps != total:
            raise ValueError(
                f"mask_downsampler_total_stride must be a power of mask_downsampler_stride, got {total} and {stride}"
            )
        channels = [stride ** (2 * step) for step in range(steps + 1)]
        self.layers = nn.ModuleList(MaskDownsamplerLayer(config, narrow, wide) for narrow, wide in pairwise(channels))
        self.final_conv = nn.Conv2d(channels[-1], config.mask_downsampler_embed_dim, kernel_size=1)

    def forward(self, masks: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, C, h, w)."""
        for layer in self.layers:
            masks = layer(masks)
        return self.final_conv(masks)


class MemoryFuserBlock(GradientCheckpointingLayer):
    """A ConvNeXt block: depthwise convolution, norm, two pointwise layers, a learned scale, a residual."""

    def __init__(self, config: Sam2VideoConfig):
        super().__init__()
        width = config.memory_fuser_embed_dim
        self.depthwise_conv = nn.Conv2d(
            width,
            width,
            kernel_size=config.memory_fuser_kernel_size,
            padding=config.memory_fuser_padding,
            groups=width,
        )
        self.layer_norm = LayerNorm2d(width, eps=NORM_EPS)
        self.activation = ACT2FN[config.memory_fuser_hidden_act]
        self.pointwise_conv1 = nn.Linear(width, config.memory_fuser_intermediate_dim)
        self.pointwise_conv2 = nn.Linear(config.memory_fuser_intermediate_dim, width)
        self.first_scale = config.memory_fuser_layer_scale_init_value
        self.scale = nn.Parameter(torch.full((width,), self.first_scale))

    @torch.no_grad()
    def initialise(self) -> None:
        """Sets the scale to its first value."""
        init.constant_(self.scale, self.first_scale)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to the same."""
        hidden = self.layer_norm(self.depthwise_conv(features)).permute(0, 2, 3, 1)
        hidden = self.scale * self.pointwise_conv2(self.activation(self.pointwise_conv1(hidden)))
        return features + hidden.permute(0, 3, 1, 2)


class MemoryFuser(nn.Module):
    """Blends the sum of image and mask features."""

    def __init__(self, config: Sam2VideoConfig):
        super().__init__()
        self.layers = nn.ModuleList(MemoryFuserBlock(config) for _ in range(config.memory_fuser_num_layers))

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            features = layer(features)
        return features


class MemoryEncoder(nn.Module):
    """Encodes masks, each with the frame it belongs to, into memory features.

    The model calls `encode`; the module itself is called as in transformers. The image side is the same for all
    objects of a frame: with `project_features` and `encode_masks` a caller that meets the objects in groups computes it
    once a frame.
    """

    def __init__(self, config: Sam2VideoConfig):
        super().__init__()
        hidden = config.memory_encoder_hidden_size
        self.memory_width = config.memory_encoder_output_channels
        self.mask_downsampler = MaskDownsampler(config)
        self.feature_projection = nn.Conv2d(hidden, hidden, kernel_size=1)
        self.memory_fuser = MemoryFuser(config)
        self.projection = nn.Conv2d(hidden, self.memory_width, kernel_size=1)

    def forward(self, vision_features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes masks as transformers' memory encoder does.

        Args:
            vision_features: (B, C, h, w), as in `encode`.
            masks: (N, 1, H, W), as in `encode`.

        Returns:
            Memory features and the encoding of their positions, both (N, D, h, w).
        """
        memory = self.encode(vision_features, masks)
        return memory, self.position_encoding((memory.shape[-2], memory.shape[-1])).to(memory).expand_as(memory)

    def encode(self, features: Tensor, masks: Tensor) -> Tensor:
        """Memory features (N, D, h, w).

        Args:
            features: (B, C, h, w), the features of the frames, without any memory in them.
            masks: (N, 1, H, W) at the model's input size, already scaled to the range the config names. N is a
                multiple of B: the objects of the first frame come first.
        """
        return self.encode_masks(self.project_features(features), masks)

    def project_features(self, features: Tensor) -> Tensor:
        """The image side, (B, C, h, w) to the same; once a frame."""
        return self.feature_projection(features.contiguous(memory_format=torch.channels_last))

    def encode_masks(self, projected: Tensor, masks: Tensor) -> Tensor:
        """The object side: memory features (N, D, h, w) from `project_features` (B, C, h, w) and masks (N, 1, H, W).

        Maps are laid out with channels last, so that the norms over channels find them side by side.
        """
        frames = projected.shape[0]
        downsampled = self.mask_downsampler(masks.contiguous(memory_format=torch.channels_last))
        if not is_exported() and (downsampled.shape[-2:] != projected.shape[-2:] or masks.shape[0] % frames):
            raise ValueError(
                f"masks of shape {tuple(masks.shape)} shrink to {tuple(downsampled.shape[-2:])}; they must fit "
                f"features of {frames} frame(s), each {tuple(projected.shape[-2:])}"
            )
        fused = self.memory_fuser((downsampled.unflatten(0, (frames, -1)) + projected[:, None]).flatten(0, 1))
        return self.projection(fused)

    def position_encoding(self, size: tuple[int, int]) -> Tensor:
        """Sine encoding (1, D, h, w) of the positions of a memory; the same for every memory of that (h, w)."""
        weight = self.projection.weight
        return sine_position_encoding(size, self.memory_width, device=weight.device, dtype=weight.dtype)
