"""The loss that finds the best of several masks, a few objects at a time.

What fits into no cache costs a CPU twice the time; elsewhere the memory is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .chunking import how_many_fit

if TYPE_CHECKING:
    from ..network.losses import Labels, LossWeights


def _objects_at_once(masks: Tensor, truth: Labels) -> int:
    return how_many_fit(masks.shape[1] * truth.foreground[0].numel() * masks.element_size(), masks.device)


def suits_judging(weights: LossWeights, masks: Tensor, truth: Labels) -> bool:
    """Whether there are more objects than should be judged at once."""
    return len(masks) > 1 and len(masks) > _objects_at_once(masks, truth)


def judge_in_chunks(weights: LossWeights, masks: Tensor, truth: Labels) -> tuple[Tensor, Tensor]:
    """`LossWeights.judge`, chunk by chunk."""
    each = _objects_at_once(masks, truth)
    parts = zip(*(column.split(each) for column in (masks, *truth)), strict=True)
    judged = [weights.judge(chunk, type(truth)(*labels)) for chunk, *labels in parts]
    best, ious = (torch.cat(column) for column in zip(*judged, strict=True))
    return best, ious
