"""The image trunk: Hiera, a hierarchical vision transformer with windowed attention (arXiv 2306.00989).

Maps are (B, H, W, C) throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_sam2 import Sam2HieraDetConfig
from ..outputs import Sam2HieraDetModelOutput
from .layers import FeedForward, attend, replaceable
from .pretrained import PreTrainedNetwork
from .trunks import register_trunk


def max_pool(features: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """Max pooling of a map (B, H, W, C) over blocks of `stride`."""
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
            kernel_size=config.both_sides("patch_kernel_size"),
            stride=config.both_sides("patch_stride"),
            padding=config.both_sides("patch_padding"),
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.projection(pixel_values.to(self.projection.weight.dtype)).permute(0, 2, 3, 1)


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
        """(B, H, W, C) to (B, H', W', C'), and the weights if asked for."""
        query, key, value = self.qkv(windows).chunk(3, dim=-1)
        if self.query_stride is not None:
            query = max_pool(query, self.query_stride)
        result, weights = self.attend(query, key, value, need_weights)
        return self.proj(result), weights

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, need_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Queries (B, H', W', C'), keys and values (B, H, W, C') to (B, H', W', C'), and the weights if asked for."""
        batch, height, width, channels = query.shape
        heads = (batch, -1, self.num_heads, channels // self.num_heads)
        query = query.reshape(heads).transpose(1, 2)
        key, value = key.reshape(heads).transpose(1, 2), value.reshape(heads).transpose(1, 2)
        result, weights = attend(self, query, key, value, self.scaling, need_weights=need_weights)
        return result.reshape(batch, height, width, channels), weights


class MultiScaleBlock(GradientCheckpointingLayer):
    """Attention and MLP with pre-norm residuals; `window` 0 is global attention."""

    partition_windows = staticmethod(partition_windows)
    merge_windows = staticmethod(merge_windows)

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

    @replaceable
    def forward(self, hidden: torch.Tensor, need_weights: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A map (B, H, W, C) to the next one, and the weights if asked for."""
        normed = self.layer_norm1(hidden)
        shortcut = hidden if self.proj is None else self.proj(normed)
        if self.query_stride is not None:
            shortcut = max_pool(shortcut, self.query_stride)
        if self.window == 0:
            attended, weights = self.attn(normed, need_weights)
        else:
            attended, weights = self.attn(self.partition_windows(normed, self.window), need_weights)
            # Attention gave smaller windows if the block pools.
            attended = self.merge_windows(attended, attended.shape[1], shortcut.shape[1:3])
        return self.feed_forward(shortcut + attended), weights

    def feed_forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The second half of the block, (..., C) to the same."""
        return hidden + self.mlp(self.layer_norm2(hidden))


class Hiera(PreTrainedNetwork):
    """Patch embedding, windowed position embedding and the stages of blocks."""

    config_class = Sam2HieraDetConfig
    _no_split_modules = ["MultiScaleBlock"]  # noqa: RUF012

    def __init__(self, config: Sam2HieraDetConfig):
        super().__init__(config)
        window = config.window_size_per_stage[0]
        background = config.window_positional_embedding_background_size
        self.patch_embed = PatchEmbedding(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.hidden_size, *background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.hidden_size, window, window))
        self.blocks = nn.ModuleList(_build_blocks(config))
        self.stage_ends = [count - 1 for count in accumulate(config.blocks_per_stage)]
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.patch_embed

    @property
    def input_embedding(self) -> nn.Module:
        """The first layer, which pixels go through."""
        return self.patch_embed

    @torch.no_grad()
    def initialise(self) -> None:
        """Gives the parameters that belong to no layer their first values."""
        init.zeros_(self.pos_embed)
        init.zeros_(self.pos_embed_window)

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool = True,
    ) -> Sam2HieraDetModelOutput | tuple:
        """Encodes images.

        Args:
            pixel_values: normalised images (B, 3, H, W).
            output_hidden_states: whether to return every block's output, by default as the configuration says.
            output_attentions: whether to return every block's weights, by default as the configuration says.
            return_dict: whether to return an output object and not a tuple.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        hidden = self.embed(pixel_values)
        stages, hidden_states, attentions = [], [hidden] if output_hidden_states else [], []
        for index, block in enumerate(self.blocks):
            hidden, weights = block(hidden, output_attentions)
            if index in self.stage_ends:
                stages.append(hidden)
            if output_hidden_states:
                hidden_states.append(hidden)
            if output_attentions:
                attentions.append(weights)
        output = Sam2HieraDetModelOutput(
            last_hidden_state=hidden,
            intermediate_hidden_states=tuple(stages),
            hidden_states=tuple(hidden_states) or None,
            attentions=tuple(attentions) or None,
        )
        return output if return_dict else output.to_tuple()

    @replaceable
    def embed(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) to patches with their positions, (B, H / stride, W / stride, C)."""
        hidden = self.patch_embed(pixel_values)
        return hidden + self.position_embedding(hidden.shape[1], hidden.shape[2]).to(hidden)

    def position_embedding(self, height: int, width: int) -> torch.Tensor:
        """The embedding (1, H, W, C): a background stretched over the map plus one window's embedding, repeated
        (arXiv 2311.05613)."""
        background = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        window = self.pos_embed_window
        tiled = window.tile((1, 1, height // window.shape[2], width // window.shape[3]))
        return (background + tiled).permute(0, 2, 3, 1)


def _build_blocks(config: Sam2HieraDetConfig) -> list[MultiScaleBlock]:
    blocks: list[MultiScaleBlock] = []
    dim, window = config.embed_dim_per_stage[0], config.window_size_per_stage[0]
    for stage, count in enumerate(config.blocks_per_stage):
        for position in range(count):
            opens_stage = stage > 0 and position == 0
            # The block that opens a stage still sees the map, and the windows, of the stage before.
            stride = (
                config.both_sides("query_stride") if opens_stage and stage <= config.num_query_pool_stages else None
            )
            is_global = len(blocks) in config.global_attention_blocks
            dim_out = config.embed_dim_per_stage[stage]
            heads = config.num_attention_heads_per_stage[stage]
            blocks.append(MultiScaleBlock(config, dim, dim_out, heads, 0 if is_global else window, stride))
            dim, window = dim_out, config.window_size_per_stage[stage]
    return blocks


register_trunk(Sam2HieraDetConfig, Hiera)
