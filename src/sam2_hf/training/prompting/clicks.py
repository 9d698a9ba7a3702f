"""Simulated users: first clicks, corrections and boxes from true masks.

Source: Kirillov et al., "Segment Anything" (arXiv 2304.02643, appendix A, interactive training); evaluation as in
Sofiiuk et al., "Reviving Iterative Training with Mask Guidance" (arXiv 2102.06583).

Axes: K objects, H and W of their masks. Points are (x, y), pixel indices of the masks' size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ...masks.boxes import mask_to_box
from ...prompt_values import PAD_VALUE
from ...tracking.prompts import PointPrompt
from .distance import deepest_points

# "uniform": anywhere in the error, as in training. "centre": its deepest pixel, as in evaluation.
Where = Literal["uniform", "centre"]

FOREGROUND, BACKGROUND = 1, 0
UPPER_LEFT, LOWER_RIGHT = 2, 3

# Noise of the corners of a box: a tenth of its sides, and at most so many pixels.
BOX_NOISE, BOX_NOISE_LIMIT = 0.1, 20.0


def correct(truth: Tensor, predicted: Tensor, known: Tensor | None = None, where: Where = "uniform") -> PointPrompt:
    """Correct each prediction by one click on a wrong pixel: a missed part of the object, or background in the mask.

    Where nothing is wrong, the background is clicked, and the object where there is no background.

    Args:
        truth: (K, H, W) bool.
        predicted: (K, H, W) bool.
        known: (K, H, W) bool; unknown pixels are neither right nor wrong. All by default.
        where: in the error.

    Returns:
        A point for each object: points (K, 1, 2), labels (K, 1).

    Raises:
        ImportError: for "centre" without SciPy.
    """
    known = torch.ones_like(truth) if known is None else known
    if where == "centre":
        return _correct_in_the_centre(truth, predicted, known)
    region = _first_with_pixels((truth != predicted) & known, ~truth & known, torch.ones_like(truth))
    return _label(_anywhere(region), truth)


def first_click(truth: Tensor, known: Tensor | None = None, where: Where = "uniform") -> PointPrompt:
    """Click each object (K, H, W), or the background where it is absent; arguments and result as those of `correct`."""
    return correct(truth, torch.zeros_like(truth), known, where)


def draw_box(truth: Tensor, noise: float = BOX_NOISE) -> PointPrompt:
    """Draw a box around each object. An absent object has a click on the background and a padding point instead.

    Args:
        truth: (K, H, W) bool.
        noise: largest error of a corner, as a share of the sides.

    Returns:
        Two corners for each object: points (K, 2, 2), labels (K, 2).
    """
    height, width = truth.shape[-2:]
    box = mask_to_box(truth).float()
    limit = noise * (box[:, 2:] - box[:, :2]).repeat(1, 2)
    box = box + (2 * torch.rand_like(box) - 1) * limit.clamp(max=BOX_NOISE_LIMIT)
    last = torch.tensor([width, height, width, height], device=box.device) - 1
    corners = torch.minimum(box.clamp(min=0), last).unflatten(1, (2, 2))
    labels = torch.tensor([UPPER_LEFT, LOWER_RIGHT], device=box.device).expand(len(box), -1)

    absent = ~truth.flatten(1).any(dim=1)
    click = first_click(truth)
    padding = PointPrompt(torch.full_like(click.points, PAD_VALUE), torch.full_like(click.labels, PAD_VALUE))
    instead = click.followed_by(padding)
    points = torch.where(absent[:, None, None], instead.points, corners)
    return PointPrompt(points, torch.where(absent[:, None], instead.labels, labels))


def _correct_in_the_centre(truth: Tensor, predicted: Tensor, known: Tensor) -> PointPrompt:
    missing, missing_depth = deepest_points(truth & ~predicted & known)
    wrong, wrong_depth = deepest_points(predicted & ~truth & known)
    points = torch.where((missing_depth > wrong_depth)[:, None], missing, wrong)
    perfect = torch.maximum(missing_depth, wrong_depth) == 0
    if bool(perfect.any()):
        fallback = _first_with_pixels(~truth & known, torch.ones_like(truth))
        points = torch.where(perfect[:, None], deepest_points(fallback)[0], points)
    return _label(points, truth)


def _first_with_pixels(*regions: Tensor) -> Tensor:
    """Choose for every object the first of the regions (K, H, W) that is not empty; the last must not be."""
    *others, chosen = regions
    for region in reversed(others):
        chosen = torch.where(region.flatten(1).any(dim=1)[:, None, None], region, chosen)
    return chosen


def _anywhere(regions: Tensor) -> Tensor:
    """Draw a pixel of each region (K, H, W), all equally likely: (x, y) as (K, 2) int64."""
    noise = torch.rand(regions.shape, device=regions.device)
    index = noise.masked_fill(~regions, -1).flatten(1).argmax(dim=1)
    return torch.stack((index % regions.shape[-1], index // regions.shape[-1]), dim=-1)


def _label(points: Tensor, truth: Tensor) -> PointPrompt:
    """Label points (K, 2) by the truth at their pixels."""
    is_object = truth[torch.arange(len(points), device=points.device), points[:, 1], points[:, 0]]
    labels = torch.where(is_object, FOREGROUND, BACKGROUND)
    return PointPrompt(points.float().unsqueeze(1), labels.unsqueeze(1))
