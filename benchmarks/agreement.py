"""Agreement of the results of two variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

Agreement = dict[str, Any]


def compare_files(ours: Path, theirs: Path) -> Agreement:
    """Compares two files of tensors. Empty if they have no tensor in common."""
    return compare(torch.load(ours), torch.load(theirs))


def compare(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> Agreement:
    """Compares masks by their mean IoU, and other tensors by the largest difference relative to the largest value."""
    if "masks" in ours:
        return compare_masks(ours["masks"], theirs["masks"])
    errors = [_error(ours[name].float(), theirs[name].float()) for name in ours if name in theirs]
    return {"error": max(errors)} if errors else {}


def compare_masks(ours: torch.Tensor, theirs: torch.Tensor) -> Agreement:
    """Counts masks (K, H, W) bool, and takes for each of theirs the best IoU with one of ours."""
    counts = {"masks": [len(ours), len(theirs)]}
    if not len(ours) or not len(theirs) or ours.shape[1:] != theirs.shape[1:]:
        return counts
    best = torch.stack([_ious(mask, ours).max() for mask in theirs])
    return {**counts, "mean_iou": best.mean().item(), "least_iou": best.min().item()}


def _ious(mask: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The IoU of one mask (H, W) with each of (K, H, W)."""
    shared, union = (mask & masks).flatten(1).sum(1), (mask | masks).flatten(1).sum(1)
    return shared / union.clamp(min=1)


def _error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: {tuple(ours.shape)} and {tuple(theirs.shape)}")
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
