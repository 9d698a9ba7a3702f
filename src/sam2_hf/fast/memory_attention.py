"""Memory attention on a CPU: tokens turned as complex numbers, memories read in blocks, rows a few at a time.

Axes: N objects, L positions of the image map, M memory tokens, C hidden width, D memory width, h heads, d a head's
width.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .chunking import in_chunks
from .conditions import may_read_weights, suit
from .narrow_attention import attend_in_blocks, objects_at_once

if TYPE_CHECKING:
    from ..network.memory_attention import MemoryAttentionLayer, RotaryAttention, RotaryTable

# Memory tokens, of all objects together, whose keys exist at once where they are built in blocks: 2 MiB.
KEYS_AT_ONCE = 2048


def suits_layer(
    layer: MemoryAttentionLayer,
    hidden: Tensor,
    key_source: Tensor,
    value_source: Tensor,
    rotary: RotaryTable,
    num_pointer_tokens: int = 0,
    mask: Tensor | None = None,
) -> bool:
    """Whether nothing is learnt and nothing dropped."""
    return not layer.training and suit(hidden) and suit(value_source)


def run_layer(
    layer: MemoryAttentionLayer,
    hidden: Tensor,
    key_source: Tensor,
    value_source: Tensor,
    rotary: RotaryTable,
    num_pointer_tokens: int = 0,
    mask: Tensor | None = None,
) -> Tensor:
    """`MemoryAttentionLayer.forward`: (1 or N, L, C) to (N, L, C)."""
    own, cross = layer.self_attn, layer.cross_attn_image
    normed = layer.layer_norm1(hidden)
    queries, keys = turned_heads(own.q_proj(normed), own, rotary), turned_heads(own.k_proj(normed), own, rotary)
    values = own.v_proj(normed).unflatten(-1, (own.num_heads, -1)).transpose(1, 2)
    hidden = hidden + own.attend(queries, keys, values)
    queries = turned_heads(cross.q_proj(layer.layer_norm2(hidden)), cross, rotary)
    if mask is None and gains_from_blocks(cross, value_source):
        read = read_in_blocks(cross, queries[:, 0], key_source, value_source, rotary, num_pointer_tokens)
    else:
        keys, values = cross.keys_and_values(key_source, value_source, rotary, num_pointer_tokens)
        read = cross.attend(queries, keys, values, mask=mask)
    return in_chunks(layer.feed_forward, hidden + read, layer.linear1.out_features)


def turned_heads(tokens: Tensor, attention: RotaryAttention, rotary: RotaryTable) -> Tensor:
    """Projected tokens (N, k * L, h * d) as heads (N, h, k * L, d), turned by the angles of their positions.

    Each pair of channels is one complex number: the product reads and writes every channel once.
    """
    maps = tokens.unflatten(-1, (attention.num_heads, -1)).unflatten(1, (-1, rotary.cos.shape[0])).float()
    turned = torch.view_as_complex(maps.unflatten(-1, (-1, 2))) * torch.complex(rotary.cos, rotary.sin)
    return torch.view_as_real(turned).flatten(-2).flatten(1, 2).to(tokens.dtype).transpose(1, 2)


def gains_from_blocks(attention: RotaryAttention, value_source: Tensor) -> bool:
    """Whether one head reads memories (N, M, D) that are narrower than itself, in float32."""
    is_narrow = attention.num_heads == 1 and value_source.shape[-1] < attention.v_proj.out_features
    is_stock = (getattr(attention.config, "_attn_implementation", None) or "sdpa") == "sdpa"
    return (
        is_narrow
        and is_stock
        and value_source.dtype is torch.float32
        and may_read_weights(attention.k_proj, attention.v_proj, attention.o_proj)
    )


def read_in_blocks(
    attention: RotaryAttention,
    queries: Tensor,
    key_source: Tensor,
    value_source: Tensor,
    rotary: RotaryTable,
    num_unrotated: int = 0,
) -> Tensor:
    """What turned queries (1 or N, L, d) read of sources of keys (1 or N, M, D) and values (N, M, D): (N, L, C).

    Values are read before they are projected (see `narrow_attention`); keys exist for a block at a time. The last
    `num_unrotated` tokens have no position.
    """
    count = len(value_source)
    together = min(count, objects_at_once(queries.shape[1]))
    size = max(1, KEYS_AT_ONCE // together)
    table = torch.complex(rotary.cos, rotary.sin)[:, 0]
    # Block by block: of a part of a map, or of some whole maps.
    turns = table.repeat(max(1, size // len(table)), 1).split(size)
    sources = (queries * attention.scaling, key_source, value_source)
    groups = zip(*(source.expand(count, -1, -1).split(together) for source in sources), strict=True)
    read = [
        attend_in_blocks(heads, _blocks(attention, keys, values, turns, num_unrotated))
        for heads, keys, values in groups
    ]
    return attention.o_proj(attention.v_proj(torch.cat(read)))


def _blocks(
    attention: RotaryAttention,
    key_source: Tensor,
    value_source: Tensor,
    turns: tuple[Tensor, ...],
    num_unrotated: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Keys and unprojected values of some objects, from (N, M, D) each, in blocks with the turns given."""
    num_rotated = key_source.shape[1] - num_unrotated
    start, table = 0, cycle(turns)
    while start < num_rotated:
        turn = next(table)
        stop = min(start + len(turn), num_rotated)
        keys = attention.k_proj(key_source[:, start:stop])
        torch.view_as_complex(keys.unflatten(-1, (-1, 2))).mul_(turn[: stop - start])
        yield keys, value_source[:, start:stop]
        start = stop
    if num_unrotated:
        yield attention.k_proj(key_source[:, num_rotated:]), value_source[:, num_rotated:]
