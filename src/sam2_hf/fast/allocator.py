"""The memory allocator of the process, for programs that compute on a CPU."""

from __future__ import annotations

from functools import cache

import torch

# The limit of glibc, less the room for a header and alignment.
_LARGEST_KEPT = 2**25 - 2**13


@cache
def keep_freed_memory() -> None:
    """Lets the allocator of glibc keep what tensors leave behind, instead of handing it back to the system.

    This changes the whole process, so no model does it by itself: a program calls it once, at its start.

    Memory that is new from the system is cleared page by page when it is first written, which takes three times as long
    as an element-wise operation on it. By default blocks from 128 KiB on are new each time, up to the largest size that
    a program has freed so far, 32 MiB at most (mallopt(3), M_MMAP_THRESHOLD). So one block of that size is freed here;
    nothing is written to it, and where there is no glibc nothing happens.
    """
    torch.empty(_LARGEST_KEPT, dtype=torch.uint8, device="cpu")
