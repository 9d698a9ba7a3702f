"""How much is computed at once, where it could be done in any number of chunks.

On a CPU small chunks are the fastest: they stay in its caches, and memory is used again instead of being asked
for. An accelerator wants large ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .conditions import suit

BYTES_AT_ONCE = {"cpu": 2**24}
BYTES_AT_ONCE_ON_ACCELERATORS = 2**29
# What one layer hands to the next should still lie in the second-level caches.
BYTES_IN_CACHE = 2**22
# But so many rows that a layer's weights are not read for too few of them.
LEAST_ROWS = 512


def how_many_fit(size: int, device: torch.device) -> int:
    """How many items of `size` bytes make a chunk; at least one."""
    return max(1, BYTES_AT_ONCE.get(device.type, BYTES_AT_ONCE_ON_ACCELERATORS) // size)


def how_many_rows(rows: Tensor, width: int) -> int:
    """How many rows (..., C) are taken at once through layers that are up to `width` channels wide within."""
    return max(LEAST_ROWS, BYTES_IN_CACHE // (width * rows.element_size()))


def in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor, width: int) -> Tensor:
    """`function` of rows (..., C), each of which becomes one row (..., C') whatever the others are.

    On a CPU a few at a time, for a function that is up to `width` channels wide within: then nothing of that width
    leaves the caches.
    """
    count = how_many_rows(rows, width)
    if rows.shape[:-1].numel() <= count or not suit(rows):
        return function(rows)
    chunks = [function(chunk) for chunk in rows.flatten(0, -2).split(count)]
    return torch.cat(chunks).unflatten(0, rows.shape[:-1])
