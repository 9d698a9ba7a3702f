"""How much is computed at once, where it could be done in any number of portions.

On a CPU small portions are the fastest: they stay in its caches, and memory is used again instead of being asked
for. An accelerator wants large ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from .dispatch import suit as fast_paths_suit

BYTES_AT_ONCE = {"cpu": 2**24}
BYTES_AT_ONCE_ON_ACCELERATORS = 2**29
# What one layer hands to the next should still lie in the second-level caches.
BYTES_IN_CACHE = 2**22
# But so many rows that a layer's weights are not read for too few of them.
LEAST_ROWS = 512
# The limit of glibc, less the room for a header and alignment.
_LARGEST_KEPT = 2**25 - 2**13


def how_many_fit(size: int, device: torch.device) -> int:
    """How many items of `size` bytes make a portion; at least one."""
    return max(1, BYTES_AT_ONCE.get(device.type, BYTES_AT_ONCE_ON_ACCELERATORS) // size)


def how_many_rows(rows: Tensor, width: int) -> int:
    """How many rows (..., C) are taken at once through layers that are up to `width` channels wide within."""
    return max(LEAST_ROWS, BYTES_IN_CACHE // (width * rows.element_size()))


def in_portions(function: Callable[[Tensor], Tensor], rows: Tensor, width: int) -> Tensor:
    """`function` of rows (..., C), each of which becomes one row (..., C') whatever the others are.

    On a CPU a few at a time, for a function that is up to `width` channels wide within: then nothing of that width
    leaves the caches.
    """
    count = how_many_rows(rows, width)
    if not fast_paths_suit(rows) or rows.shape[:-1].numel() <= count:
        return function(rows)
    portions = [function(portion) for portion in rows.flatten(0, -2).split(count)]
    return torch.cat(portions).unflatten(0, rows.shape[:-1])


@cache
def keep_freed_memory() -> None:
    """Lets the allocator of glibc keep what tensors leave behind, instead of handing it back to the system.

    Memory that is new from the system is cleared page by page when it is first written, which takes three times as long
    as an element-wise operation on it. By default blocks from 128 KiB on are new each time, up to the largest size that
    a program has freed so far, 32 MiB at most (mallopt(3), M_MMAP_THRESHOLD). So one block of that size is freed here;
    nothing is written to it, and where there is no glibc nothing happens.
    """
    torch.empty(_LARGEST_KEPT, dtype=torch.uint8, device="cpu")
