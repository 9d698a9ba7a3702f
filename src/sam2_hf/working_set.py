"""How much is computed at once, where it could be done in any number of portions.

On a CPU small portions are the fastest: they stay in its caches, and memory is used again instead of being asked
for. An accelerator wants large ones.
"""

from __future__ import annotations

import torch

BYTES_AT_ONCE = {"cpu": 2**24}
BYTES_AT_ONCE_ON_ACCELERATORS = 2**29


def how_many_fit(size: int, device: torch.device) -> int:
    """How many items of `size` bytes make a portion; at least one."""
    return max(1, BYTES_AT_ONCE.get(device.type, BYTES_AT_ONCE_ON_ACCELERATORS) // size)
