"""The image trunk in pieces that stay in a CPU's caches.

Windows do not see each other, so a map can be taken in bands of some rows of windows: each band becomes its part of the
result, and what it becomes on the way is never written to memory. Where windows do not divide the map, the zeros that
fill them up are not projected: of zeros, the bias is left. Pooling compares slices, which needs no copy with the
channels first; and positions are added in place, without ever having the map's size themselves.

Axes: B images, H and W a map, C channels.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .chunking import how_many_rows, in_chunks
from .conditions import may_read_weights, suit

if TYPE_CHECKING:
    from ..network.hiera import Hiera, MultiScaleBlock


def suits_embedding(trunk: Hiera, pixel_values: Tensor) -> bool:
    """Whether the patches' weights may be read, without gradients."""
    return suit(pixel_values) and may_read_weights(trunk.patch_embed.projection)


def embed(trunk: Hiera, pixel_values: Tensor) -> Tensor:
    """`Hiera.embed`: (B, 3, H, W) to patches with their positions (B, H', W', C)."""
    conv = trunk.patch_embed.projection
    # Asked by the layout of its weights, the convolution puts the channels of a position side by side.
    weight = conv.weight.contiguous(memory_format=torch.channels_last)
    pixel_values = pixel_values.to(weight.dtype)
    hidden = F.conv2d(pixel_values, weight, conv.bias, conv.stride, conv.padding).permute(0, 2, 3, 1)
    if not hidden.dtype is trunk.pos_embed.dtype is torch.float32:
        return hidden + trunk.position_embedding(hidden.shape[1], hidden.shape[2]).to(hidden)
    return add_positions(hidden, trunk.pos_embed, trunk.pos_embed_window)


def add_positions(hidden: Tensor, background: Tensor, window: Tensor) -> Tensor:
    """Adds positions to a map (B, H, W, C) in place.

    The background (1, C, h, w) is stretched down as a whole, and across on its way into the map; both are products
    with a matrix, for interpolation is linear. The window's embedding (1, C, w', w') is repeated.
    """
    height, width, channels = hidden.shape[1:]
    windows = hidden.unflatten(2, (-1, window.shape[3])).unflatten(1, (-1, window.shape[2]))
    windows += window.permute(0, 2, 3, 1)[:, None, :, None]
    source = background[0].permute(1, 2, 0)
    rows = (_stretching(source.shape[0], height) @ source.flatten(1)).unflatten(1, (-1, channels))
    across = _stretching(source.shape[1], width).expand(height, -1, -1)
    for image in hidden:
        image.baddbmm_(across, rows)
    return hidden


def _stretching(size: int, target: int) -> Tensor:
    """The matrix (target, size) of bicubic interpolation: column by column what becomes of a one among zeros."""
    ones = torch.eye(size, dtype=torch.float32, device="cpu")
    return F.interpolate(ones[None, :, None], size=(1, target), mode="bicubic")[0, :, 0].T


def max_pool(features: Tensor, stride: tuple[int, int]) -> Tensor:
    """The plain `max_pool` of a map (B, H, W, C), by slices: one for each position in a block."""
    down, across = stride
    height, width = features.shape[1] // down * down, features.shape[2] // across * across
    slices = [features[:, y:height:down, x:width:across] for y in range(down) for x in range(across)]
    return reduce(torch.maximum, slices)


def suits_block(block: MultiScaleBlock, hidden: Tensor, need_weights: bool = False) -> bool:
    """Whether neither gradients nor weights are asked for."""
    return not need_weights and suit(hidden)


def run_block(block: MultiScaleBlock, hidden: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
    """`MultiScaleBlock.forward`: a map (B, H, W, C) to the next one."""
    if block.window == 0:
        return _run_band(block, hidden), None
    row = hidden.shape[0] * hidden.shape[2] * block.window  # positions in a row of windows
    count = block.window * max(1, round(how_many_rows(hidden, block.mlp.proj_in.out_features) / row))
    return torch.cat([_run_band(block, band) for band in hidden.split(count, dim=1)], dim=1), None


def _run_band(block: MultiScaleBlock, hidden: Tensor) -> Tensor:
    normed = block.layer_norm1(hidden)
    shortcut = hidden if block.proj is None else block.proj(normed)
    if block.query_stride is not None:
        shortcut = max_pool(shortcut, block.query_stride)
    qkv: nn.Linear = block.attn.qkv
    window = block.window
    if window == 0:
        projected = qkv(normed)
    elif (normed.shape[1] % window or normed.shape[2] % window) and may_read_weights(qkv):
        projected = block.partition_windows(F.linear(normed, qkv.weight), window).add_(qkv.bias)
    else:
        projected = qkv(block.partition_windows(normed, window))
    query, key, value = projected.chunk(3, dim=-1)
    if block.query_stride is not None:
        query = max_pool(query, block.query_stride)
    attended, _ = block.attn.attend(query, key, value)
    if window > 0:
        attended = block.merge_windows(attended, attended.shape[1], shortcut.shape[1:3])
    return in_chunks(block.feed_forward, shortcut + block.attn.proj(attended), block.mlp.proj_in.out_features)
