"""Memories as tokens: how the chosen feature maps and pointers become one sequence for memory attention.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714), section 4, memory attention.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class MemoryTokens(NamedTuple):
    """What memory attention reads: spatial tokens first, then the pointers'.

    `tokens` is (objects, tokens, memory_width); `position` has the same shape, or one row for all objects when
    they share it. The last `num_pointer_tokens` have no position in the image.
    """

    tokens: Tensor
    position: Tensor
    num_pointer_tokens: int


def build_memory(
    features: Tensor,
    spatial_position: Tensor,
    temporal_encoding: Tensor,
    pointers: Tensor | None = None,
    pointer_encoding: Tensor | None = None,
) -> MemoryTokens:
    """Lays out the chosen memories of a batch of objects as tokens.

    Args:
        features: (objects, memories, memory_width, height, width), the feature maps, in the order of the selection.
        spatial_position: (memory_width, height, width), the encoding of the position in the image.
        temporal_encoding: (objects or 1, memories, memory_width), for each memory its row of the learned table.
        pointers: (objects, pointers, hidden_width). Each is cut into hidden_width / memory_width tokens.
        pointer_encoding: (objects or 1, pointers, memory_width), the encoding of the distances in time; zero if
            None, as in SAM 2.0.

    Dtype and device are those of `spatial_position`: memories may be stored elsewhere and in less.
    """
    width = features.shape[2]
    tokens = features.to(spatial_position).flatten(3).transpose(2, 3).flatten(1, 2)
    position_and_time = spatial_position.flatten(1).transpose(0, 1) + temporal_encoding.to(spatial_position)[:, :, None]
    position = position_and_time.flatten(1, 2)
    if pointers is None or pointers.shape[1] == 0:
        return MemoryTokens(tokens, position, 0)

    if pointers.shape[-1] % width:
        raise ValueError(f"pointers of width {pointers.shape[-1]} cannot be cut into tokens of width {width}")
    pieces = pointers.shape[-1] // width
    pointer_tokens = pointers.to(spatial_position).reshape(pointers.shape[0], -1, width)
    if pointer_encoding is None:
        pointer_position = position.new_zeros(1, pointer_tokens.shape[1], width)
    else:
        pointer_position = pointer_encoding.to(spatial_position).repeat_interleave(pieces, dim=1)
    rows = max(position.shape[0], pointer_position.shape[0])
    position = torch.cat([position.expand(rows, -1, -1), pointer_position.expand(rows, -1, -1)], dim=1)
    return MemoryTokens(torch.cat([tokens, pointer_tokens], dim=1), position, pointer_tokens.shape[1])


def scale_keys(memory: MemoryTokens, factors: Tensor) -> MemoryTokens:
    """Multiplies the keys of spatial memories, and leaves their values as they are.

    Keys are projected from tokens plus positions, values from tokens alone. So the factors go into the positions: what
    they add to a key is added there. A factor of 1 adds nothing, exactly.

    Args:
        memory: the tokens of N objects.
        factors: one for each spatial memory, (N, memories).
    """
    num_spatial = memory.tokens.shape[1] - memory.num_pointer_tokens
    spatial = memory.tokens[:, :num_spatial]
    keys = spatial + memory.position[:, :num_spatial]
    excess = (factors.to(keys) - 1).repeat_interleave(num_spatial // factors.shape[1], dim=1).unsqueeze(-1)
    position = memory.position[:, :num_spatial] + keys * excess
    pointers = memory.position[:, num_spatial:].expand(position.shape[0], -1, -1)
    return memory._replace(position=torch.cat((position, pointers), dim=1))


def memory_mask(
    valid_memories: Tensor,
    tokens_per_memory: int,
    valid_pointers: Tensor | None = None,
    tokens_per_pointer: int = 1,
) -> Tensor:
    """(objects, tokens) bool, True where a token is real, for a batch whose shorter histories were padded.

    `valid_memories` (objects, memories) and `valid_pointers` (objects, pointers) are bool. Order as `build_memory`.
    """
    mask = valid_memories.repeat_interleave(tokens_per_memory, dim=1)
    if valid_pointers is None:
        return mask
    return torch.cat([mask, valid_pointers.repeat_interleave(tokens_per_pointer, dim=1)], dim=1)
