"""Random images and prompts for the tiny models, as the tensors that the model reads; all in pixels of its input."""

from __future__ import annotations

import torch
from closeness import assert_close_in_scale
from torch import Tensor

SIZE = 128
"""Side of the tiny model's input."""

OUTPUTS = ("pred_masks", "iou_scores", "object_score_logits")
"""What the model says of prompts."""


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def pixels(batch: int = 1, height: int = SIZE, width: int | None = None, seed: int = 0) -> Tensor:
    return torch.randn((batch, 3, height, width or height), generator=torch.Generator().manual_seed(seed))


def points_for(batch: int, prompts: int, count: int, size: int = SIZE, seed: int = 1) -> dict[str, Tensor]:
    return {
        "input_points": uniform(batch, prompts, count, 2, seed=seed) * size,
        "input_labels": (uniform(batch, prompts, count, seed=seed + 100) > 0.4).long(),
    }


def boxes_for(batch: int, prompts: int, size: int = SIZE, seed: int = 2) -> dict[str, Tensor]:
    corners = uniform(batch, prompts, 2, 2, seed=seed) * size
    return {"input_boxes": corners.sort(dim=-2).values.flatten(-2)}


def masks_for(batch: int, prompts: int = 1, size: int = SIZE // 4, seed: int = 3) -> dict[str, Tensor]:
    return {"input_masks": 10 * uniform(batch, prompts, size, size, seed=seed) - 5}


def assert_same_outputs(actual, expected, tolerance: float = 1e-5) -> None:
    """Masks, scores and object scores agree to within `tolerance` of their scale."""
    for name in OUTPUTS:
        assert_close_in_scale(getattr(actual, name), getattr(expected, name), tolerance)
