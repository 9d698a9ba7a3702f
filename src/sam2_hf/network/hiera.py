"""The image trunk: Hiera, a hierarchical vision transformer with windowed attention (arXiv 2306.00989).

Maps are (B, H, W, C) throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_sam2 import Sam2HieraDetConfig
from ..fast.chunking import how_many_rows, in_portions
from ..fast.dispatch import may_read_weights
from ..fast.dispatch import suit as fast_paths_suit
from .layers import FeedForward, attend


class TrunkFeatures(NamedTuple):
    """`stages`: each stage's last map, from high to low resolution. The other two are empty unless asked for:
    `hidden_states` are the embedding and every block's output, `attentions` every block's weights
    (B * windows, heads, queries, keys)."""

    stages: tuple[torch.Tensor, ...]
    hidden_states: tuple[torch.Tensor, ...]
    attentions: tuple[torch.Tensor, ...]


def max_pool(features: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """Max pooling of a map (B, H, W, C) over blocks of `stride`."""
    if fast_paths_suit(features):
        # The places of a block as maps of their own: slices need no copy in which channels come first.
        down, across = stride
        height, width = (size - size % step for size, step in zip(features.shape[1:3], stride, strict=True))
        places = (features[:, y:height:down, x:width:across] for y in range(down) for x in range(across))
        return reduce(torch.maximum, places)
    pooled = F.max_pool2d(features.permute(0, 3, 1, 2), kernel_size=stride, stride=stride)
    return pooled.permute(0, 2, 3, 1)


def partition_windows(features: torch.Tensor, window: int) -> torch.Tensor:
    """(B, H, W, C) to (B * windows, window, window, C), padded with zeros at the right and bottom."""
    height, width, channels = features.shape[1:]
    down, across = -height % window, -width % window
    if down or across:
        features = F.pad(features, (0, 0, 0, across, 0, down))
    features = features.unflatten(1, (-1, window)).unflatten(3, (-1, window))
    return features.transpose(2, 3).reshape(-1, window, window, channels)


def merge_windows(windows: torch.Tensor, window: int, size: Sequence[int]) -> torch.Tensor:
    """Undoes `partition_windows` for a map of `size` (H, W); the padding is cut off."""
    height, width = size
    rows, columns = -(-height // window), -(-width // window)
    features = windows.reshape(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    return features.flatten(3, 4).flatten(1, 2)[:, :height, :width]


class PatchEmbedding(nn.Module):
    """Overlapping convolution from pixels (B, 3, H, W) to patches (B, H / stride, W / stride, C)."""

    def __init__(self, config: Sam2HieraDetConfig):
        super().__init__()
        self.projection = nn.Conv2d(
            config.num_channels,
            config.hidden_size,
            kernel_size=tuple(config.patch_kernel_size),
            stride=tuple(config.patch_stride),
            padding=tuple(config.patch_padding),
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        pixel_values, conv = pixel_values.to(self.projection.weight.dtype), self.projection
        if type(conv) is nn.Conv2d and fast_paths_suit(pixel_values):
            # Asked by the layout of its weights, the convolution puts the channels of a place side by side.
            weight = conv.weight.contiguous(memory_format=torch.channels_last)
            return F.conv2d(pixel_values, weight, conv.bias, conv.stride, conv.padding).permute(0, 2, 3, 1)
        return conv(pixel_values).permute(0, 2, 3, 1)


class MultiScaleAttention(nn.Module):
    """Self-attention within windows (B, H, W, C); with `query_stride`, the queries are pooled and the map shrinks."""

    def __init__(
        self,
        config: Sam2HieraDetConfig,
        dim: int,
        dim_out: int,
        num_heads: int,
        query_stride: tuple[int, int] | None,
    ):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.query_stride = query_stride
        self.scaling = (dim_out // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, dim_out * 3)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, windows: torch.Tensor, need_weights: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        result, weights = self._attend(self.qkv(windows), need_weights)
        return self.proj(result), weights

    def in_padded_windows(self, features: torch.Tensor, window: int, size: Sequence[int]) -> torch.Tensor:
        """Attention within the windows of a map (B, H, W, C) that they do not divide; the result's size is (H', W').

        Projected are the places of the map alone: of the zeros that fill the windows up, the bias is left.
        """
        projected = partition_windows(F.linear(features, self.qkv.weight), window)
        result, _ = self._attend(projected.add_(self.qkv.bias))
        return self.proj(merge_windows(result, result.shape[1], size))

    def _attend(self, projected: torch.Tensor, need_weights: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Queries, keys and values (B, H, W, 3 C) to the result (B, H', W', C), and the weights if asked for."""
        query, key, value = projected.chunk(3, dim=-1)
        if self.query_stride is not None:
            query = max_pool(query, self.query_stride)
        batch, height, width, channels = query.shape
        query, key, value = (
            x.reshape(batch, -1, self.num_heads, channels // self.num_heads).transpose(1, 2)
            for x in (query, key, value)
        )
        result, weights = attend(self, query, key, value, self.scaling, need_weights=need_weights)
        return result.reshape(batch, height, width, channels), weights


class MultiScaleBlock(GradientCheckpointingLayer):
    """Attention and MLP with pre-norm residuals; `window` 0 is global attention."""

    def __init__(
        self,
        config: Sam2HieraDetConfig,
        dim: int,
        dim_out: int,
        num_heads: int,
        window: int,
        query_stride: tuple[int, int] | None,
    ):
        super().__init__()
        self.window = window
        self.query_stride = query_stride
        self.layer_norm1 = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.attn = MultiScaleAttention(config, dim, dim_out, num_heads, query_stride)
        self.layer_norm2 = nn.LayerNorm(dim_out, eps=config.layer_norm_eps)
        self.mlp = FeedForward(
            dim_out, int(dim_out * config.mlp_ratio), dim_out, num_layers=2, activation=config.hidden_act
        )
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else None

    def forward(self, hidden: torch.Tensor, need_weights: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A map (B, H, W, C) to the next one, and the weights if asked for."""
        if self.window > 0 and not need_weights and fast_paths_suit(hidden):
            return self._in_bands(hidden), None
        return self._at_once(hidden, need_weights)

    def _in_bands(self, hidden: torch.Tensor) -> torch.Tensor:
        """The map in bands of some rows of windows. Windows do not see each other, so each band becomes its part of the
        result, and what it becomes on the way stays in the caches."""
        places = hidden.shape[0] * hidden.shape[2] * self.window  # in a row of windows
        count = self.window * max(1, round(how_many_rows(hidden, self.mlp.proj_in.out_features) / places))
        return torch.cat([self._at_once(band)[0] for band in hidden.split(count, dim=1)], dim=1)

    def _at_once(self, hidden: torch.Tensor, need_weights: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        normed = self.layer_norm1(hidden)
        residual = self._shortcut(hidden, normed)
        if self.window == 0:
            attended, weights = self.attn(normed, need_weights)
        elif self._gains_from_unpadded(normed) and not need_weights:
            attended, weights = self.attn.in_padded_windows(normed, self.window, residual.shape[1:3]), None
        else:
            attended, weights = self.attn(partition_windows(normed, self.window), need_weights)
            pooled = self.window // self.query_stride[0] if self.query_stride is not None else self.window
            attended = merge_windows(attended, pooled, residual.shape[1:3])
        return in_portions(self._feed_forward, residual + attended, self.mlp.proj_in.out_features), weights

    def _gains_from_unpadded(self, normed: torch.Tensor) -> bool:
        is_padded = any(size % self.window for size in normed.shape[1:3])
        return is_padded and fast_paths_suit(normed) and may_read_weights(self.attn.qkv)

    def _feed_forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.mlp(self.layer_norm2(hidden))

    def _shortcut(self, hidden: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        """The residual path: as it is, or projected and pooled where the width and the map change."""
        shortcut = hidden if self.proj is None else self.proj(normed)
        return shortcut if self.query_stride is None else max_pool(shortcut, self.query_stride)


class Hiera(nn.Module):
    """Patch embedding, windowed position embedding and the stages of blocks."""

    def __init__(self, config: Sam2HieraDetConfig):
        super().__init__()
        window = config.window_size_per_stage[0]
        background = config.window_positional_embedding_background_size
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.hidden_size, *background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.hidden_size, window, window))
        self.blocks = nn.ModuleList(_build_blocks(config))
        self.stage_ends = [count - 1 for count in accumulate(config.blocks_per_stage)]

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> TrunkFeatures:
        """Encodes `pixel_values` (B, 3, H, W), normalised."""
        hidden = self.patch_embed(pixel_values)
        hidden = self._add_position_embedding(hidden)
        stages, hidden_states, attentions = [], [hidden] if output_hidden_states else [], []
        for index, block in enumerate(self.blocks):
            hidden, weights = block(hidden, output_attentions)
            if index in self.stage_ends:
                stages.append(hidden)
            if output_hidden_states:
                hidden_states.append(hidden)
            if output_attentions:
                attentions.append(weights)
        return TrunkFeatures(tuple(stages), tuple(hidden_states), tuple(attentions))

    def _add_position_embedding(self, hidden: torch.Tensor) -> torch.Tensor:
        """To a map (B, H, W, C), which is lost: a background stretched over the map plus one window's embedding,
        repeated (arXiv 2311.05613)."""
        if fast_paths_suit(hidden) and hidden.dtype is self.pos_embed.dtype is torch.float32:
            return self._add_position_in_place(hidden)
        return hidden + self._position_embedding(hidden.shape[1], hidden.shape[2]).to(hidden)

    def _add_position_in_place(self, hidden: torch.Tensor) -> torch.Tensor:
        """The same without the embedding ever having the map's size: the background is stretched down as a whole, and
        across on its way into the map; both are products with a matrix, for interpolation is linear."""
        height, width, channels = hidden.shape[1:]
        window = self.pos_embed_window
        windows = hidden.unflatten(2, (-1, window.shape[3])).unflatten(1, (-1, window.shape[2]))
        windows += window.permute(0, 2, 3, 1)[:, None, :, None]
        background = self.pos_embed[0].permute(1, 2, 0)
        rows = (_stretching(background.shape[0], height) @ background.flatten(1)).unflatten(1, (-1, channels))
        across = _stretching(background.shape[1], width).expand(height, -1, -1)
        for image in hidden:
            image.baddbmm_(across, rows)
        return hidden

    def _position_embedding(self, height: int, width: int) -> torch.Tensor:
        """The embedding (1, H, W, C)."""
        background = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        window = self.pos_embed_window
        tiled = window.tile((1, 1, height // window.shape[2], width // window.shape[3]))
        return (background + tiled).permute(0, 2, 3, 1)


def _stretching(size: int, target: int) -> torch.Tensor:
    """The matrix (target, size) of bicubic interpolation: column by column what becomes of a one among zeros."""
    return F.interpolate(torch.eye(size)[None, :, None], size=(1, target), mode="bicubic")[0, :, 0].T


def _build_blocks(config: Sam2HieraDetConfig) -> list[MultiScaleBlock]:
    blocks: list[MultiScaleBlock] = []
    dim, window = config.embed_dim_per_stage[0], config.window_size_per_stage[0]
    for stage, count in enumerate(config.blocks_per_stage):
        for position in range(count):
            opens_stage = stage > 0 and position == 0
            # The block that opens a stage still sees the map, and the windows, of the stage before.
            stride = tuple(config.query_stride) if opens_stage and stage <= config.num_query_pool_stages else None
            is_global = len(blocks) in config.global_attention_blocks
            dim_out = config.embed_dim_per_stage[stage]
            heads = config.num_attention_heads_per_stage[stage]
            blocks.append(MultiScaleBlock(config, dim, dim_out, heads, 0 if is_global else window, stride))
            dim, window = dim_out, config.window_size_per_stage[stage]
    return blocks
