"""What SAM 2 is trained on: masks, the model's own estimate of their quality, and whether there is an object at all.

Sources: Kirillov et al., "Segment Anything" (arXiv 2304.02643, appendix A) and Ravi et al., "SAM 2" (arXiv 2408.00714,
appendix on training). The focal loss is of Lin et al. (arXiv 1708.02002), the dice loss of Milletari et al. (arXiv
1606.04797). This file lies beside the models, and not with the rest of training, because they read it.

Axes: K objects, M masks that were predicted for each, h and w of the logits, H and W of the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .layers import replaceable

#: The label of a pixel that nobody knows. An object whose pixels are all unknown is not counted: it fills up a batch.
IGNORED_LABEL = -100

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2
DICE_SMOOTHING = 1.0


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts, as in the paper.

    `chosen` is no term: it is the share of focal and dice loss that goes to the mask which the model's own estimates
    choose, of several. The rest goes to the one that is best. The paper has none: it is there for what users get, at
    the cost of what they might have got.
    """

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    object_score: float = 1.0
    chosen: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.chosen <= 1:
            raise ValueError(f"chosen must be a share between 0 and 1, got {self.chosen}")

    @replaceable
    def judge(self, masks: Tensor, truth: Labels) -> tuple[Tensor, Tensor]:
        """Of masks (K, M, h, w) the number of the one with the lowest loss, (K,), and the true IoU of all, (K, M)."""
        resized = _resize(masks, truth)
        ious = mask_iou(resized, truth.foreground, truth.known)
        if masks.shape[1] == 1:
            return torch.zeros(len(masks), dtype=torch.long, device=masks.device), ious
        loss = self.focal * focal_loss(resized, truth.foreground, truth.known)
        loss = loss + self.dice * dice_loss(resized, truth.foreground, truth.known)
        return loss.argmin(dim=1), ious


class SegmentationLoss(NamedTuple):
    """`total` is the weighted sum of the other terms, which are scalars without their weights."""

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    object_score: Tensor


class Labels(NamedTuple):
    """`foreground` and `known` (K, 1, H, W) float32; `counted` and `present` (K,) float32, one or zero."""

    foreground: Tensor
    known: Tensor
    counted: Tensor
    present: Tensor


def segmentation_loss(
    masks: Tensor,
    iou_scores: Tensor,
    object_scores: Tensor,
    labels: Tensor,
    weights: LossWeights | None = None,
) -> SegmentationLoss:
    """The loss of K predictions, averaged over the objects that count; in float32, whatever comes in.

    Of M masks, only the one with the lowest mask loss (focal and dice, weighted) is taught, so that the others stay
    free to mean something else (but see `LossWeights`); the estimates of IoU are taught for all of them, so that the
    model learns when a mask is bad. Where the object is absent, nothing is taught but its absence.

    Args:
        masks: logits (..., M, h, w), *before* any of them is blanked because the model thinks the object absent: it
            must still learn what it would have looked like. Resized bilinearly to the labels.
        iou_scores: the model's estimates (..., M), between 0 and 1.
        object_scores: logits that there is an object, (..., 1).
        labels: (..., H, W) of any dtype: above 0 is the object, 0 is not, -100 is unknown.
        weights: of the terms; the paper's by default.

    Raises a `ValueError` where the leading axes do not agree.
    """
    _check(masks, iou_scores, object_scores, labels)
    weights = weights or LossWeights()
    masks, iou_scores = masks.float().flatten(0, -4), iou_scores.float().flatten(0, -2)
    truth = _read_labels(labels.flatten(0, -3))
    with torch.no_grad():
        best, true_ious = weights.judge(masks.detach(), truth)

    def mean(values: Tensor, where: Tensor) -> Tensor:
        return (values * where).sum() / truth.counted.sum().clamp(min=1)

    focal = dice = masks.new_zeros(())
    for rows, share in _taught(best, iou_scores, weights.chosen):
        taught = _resize(masks.take_along_dim(rows[:, None, None, None], dim=1), truth)
        focal = focal + share * mean(focal_loss(taught, truth.foreground, truth.known)[:, 0], truth.present)
        dice = dice + share * mean(dice_loss(taught, truth.foreground, truth.known)[:, 0], truth.present)
    iou = mean((iou_scores - true_ious).abs().mean(dim=-1), truth.present)
    object_score = F.binary_cross_entropy_with_logits(object_scores.float().flatten(), truth.present, reduction="none")
    object_score = mean(object_score, truth.counted)
    total = weights.focal * focal + weights.dice * dice + weights.iou * iou + weights.object_score * object_score
    return SegmentationLoss(total, focal, dice, iou, object_score)


def focal_loss(logits: Tensor, foreground: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy that counts what is already right for little, averaged over the known pixels.

    All (..., H, W), which broadcast; `foreground` and `known` are 0 or 1. Returns (...).
    """
    # Towards the wrong side: for a target of 0 or 1, every form of the loss is a function of this one number.
    doubt = logits * (1 - 2 * foreground)
    weight = known * (1 - FOCAL_ALPHA - (1 - 2 * FOCAL_ALPHA) * foreground)
    loss = F.softplus(doubt) * doubt.sigmoid() ** FOCAL_GAMMA * weight
    return loss.sum((-2, -1)) / known.sum((-2, -1)).clamp(min=1)


def dice_loss(logits: Tensor, foreground: Tensor, known: Tensor) -> Tensor:
    """One minus twice the overlap over the sum of the areas, in probabilities. Shapes as in `focal_loss`."""
    probability = logits.sigmoid() * known
    overlap = 2 * (probability * foreground).sum((-2, -1)) + DICE_SMOOTHING
    return 1 - overlap / (probability.sum((-2, -1)) + (foreground * known).sum((-2, -1)) + DICE_SMOOTHING)


def mask_iou(logits: Tensor, foreground: Tensor, known: Tensor) -> Tensor:
    """The IoU that the masks have in truth, over the known pixels; 0 where both are empty. Shapes as before."""
    predicted = (logits > 0) * known
    overlap = (predicted * foreground).sum((-2, -1))
    union = predicted.sum((-2, -1)) + (foreground * known).sum((-2, -1)) - overlap
    return overlap / union.clamp(min=1)


def _taught(best: Tensor, iou_scores: Tensor, chosen: float) -> list[tuple[Tensor, float]]:
    """The masks that are taught, each a number for K objects, and their shares of the loss."""
    if chosen == 0 or iou_scores.shape[-1] == 1:
        return [(best, 1.0)]
    return [(best, 1 - chosen), (iou_scores.argmax(dim=-1), chosen)]


def _resize(masks: Tensor, truth: Labels) -> Tensor:
    size = truth.foreground.shape[-2:]
    return masks if masks.shape[-2:] == size else F.interpolate(masks, size=size, mode="bilinear", align_corners=False)


def _read_labels(labels: Tensor) -> Labels:
    known = (labels != IGNORED_LABEL).float() if labels.dtype != torch.bool else torch.ones_like(labels).float()
    foreground = (labels > 0).float()
    return Labels(
        foreground.unsqueeze(1),
        known.unsqueeze(1),
        known.flatten(1).amax(dim=1),
        foreground.flatten(1).amax(dim=1),
    )


def _check(masks: Tensor, iou_scores: Tensor, object_scores: Tensor, labels: Tensor) -> None:
    leading = masks.shape[:-3]
    expected = {
        "iou_scores": (iou_scores, masks.shape[:-2]),
        "object_scores": (object_scores, (*leading, 1)),
        "labels": (labels, (*leading, *labels.shape[-2:])),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.ndim != len(shape) or tuple(tensor.shape) != tuple(shape):
            raise ValueError(
                f"{name} must have the shape {tuple(shape)} to go with masks {tuple(masks.shape)}, "
                f"got {tuple(tensor.shape)}"
            )
