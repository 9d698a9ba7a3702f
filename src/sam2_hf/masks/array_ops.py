"""Small steps that each kind of device wants done its own way.

On the CPU, NumPy counts, finds, repeats and sorts three to ten times faster than torch, and shares the tensor's memory,
so nothing is copied; elsewhere torch does the work on the device.
"""

from __future__ import annotations

import numpy as np
import torch


def count_pixels(masks: torch.Tensor) -> torch.Tensor:
    """Number of set pixels of each (..., height, width) bool mask: (...), int64."""
    if masks.device.type != "cpu":
        return masks.sum((-2, -1))
    arrays = masks.numpy()
    counts = [np.count_nonzero(arrays[index]) for index in np.ndindex(masks.shape[:-2])]
    return torch.tensor(counts, dtype=torch.int64, device="cpu").view(masks.shape[:-2])


def find_set(mask: torch.Tensor) -> torch.Tensor:
    """Row-major indices of the set entries of a bool tensor, ascending, int64, on its device."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def repeat_each(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Each of (entries,) values as many times as its count says, in order."""
    if values.device.type != "cpu":
        return values.repeat_interleave(counts)
    return torch.from_numpy(np.repeat(values.numpy(), counts.numpy()))


def sort_ascending(values: torch.Tensor) -> torch.Tensor:
    """(entries,) integers in ascending order."""
    if values.device.type != "cpu":
        return values.sort().values
    return torch.from_numpy(np.sort(values.numpy()))
