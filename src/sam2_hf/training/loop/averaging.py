"""Means of the weights of several stages.

Consecutive stages, each with a learning rate that falls to zero, end in different points of one basin of the loss.
Their mean is often better than any of them.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (arXiv 1803.05407);
Wortsman et al., "Model soups" (arXiv 2203.05482).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file


def average_weights(folders: Sequence[str | Path]) -> dict[str, torch.Tensor]:
    """Average the `model.safetensors` of several folders, weight by weight.

    Args:
        folders: of checkpoints. A folder that is named more than once counts as often.

    Returns:
        Weights by name, float32.

    Raises:
        ValueError: if weights have other names or shapes than those of the first folder.
    """
    total: dict[str, torch.Tensor] = {}
    for folder in folders:
        weights = load_file(Path(folder, "model.safetensors"))
        if not total:
            total = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
        if _shapes(weights) != _shapes(total):
            raise ValueError(f"weights of different models have no mean: {folder} does not match {folders[0]}")
        for name, weight in weights.items():
            total[name] += weight.float() / len(folders)
    return total


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}
