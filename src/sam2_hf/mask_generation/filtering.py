"""The steps of mask generation one by one, as transformers' image processors offer them to its pipeline.

Our own pipeline does not go this way: it makes no mask before its score is known. Grids, filters and suppression are
the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ..masks.boxes import is_near_crop_edge, mask_to_box, nms
from ..masks.rle import Rle, mask_to_rle, rle_to_mask
from ..masks.stability import stability_score
from ..prompt_values import FOREGROUND_LABEL, PAD_VALUE
from ..sizes import Size
from .crops import crop_layers, point_grid


class CropPrompts(NamedTuple):
    """What is searched in C crops with up to P points each.

    Attributes:
        boxes: (C, 4) int64: left, top, right, bottom (exclusive), in pixels of the image.
        points: (1, P, C, 2) float32, (x, y) in pixels of the model's input.
        images: C crops of the image.
        labels: (1, P, C) int64: 1, or -10 where a crop has fewer points than others.
    """

    boxes: torch.Tensor
    points: torch.Tensor
    images: list[torch.Tensor]
    labels: torch.Tensor


def prompts_of_crops(
    image: torch.Tensor,
    model_size: Size,
    layers: int,
    overlap_ratio: float,
    points_per_crop: int,
    downscale_factor: float,
) -> CropPrompts:
    """Cut an image into crops and lay a grid of points over each.

    Args:
        image: (channels, height, width).
        model_size: (height, width) of the model's input.
        layers: see `crop_layers`.
        overlap_ratio: see `crop_layers`.
        points_per_crop: along each side of the grid.
        downscale_factor: by whose n-th power the points of layer n are divided.

    Raises:
        ValueError: a layer without points.
    """
    crops = crop_layers((image.shape[-2], image.shape[-1]), layers, overlap_ratio)
    sides = [int(points_per_crop / downscale_factor**crop.layer) for crop in crops]
    if min(sides) < 1:
        raise ValueError(
            f"crop_n_points_downscale_factor={downscale_factor} leaves no points of points_per_crop={points_per_crop} "
            f"in crop layer {layers}"
        )
    points = torch.full((1, max(sides) ** 2, len(crops), 2), float(PAD_VALUE))
    labels = torch.full((1, max(sides) ** 2, len(crops)), PAD_VALUE)
    scale = torch.tensor([model_size[1], model_size[0]])
    for index, side in enumerate(sides):
        points[0, : side**2, index] = torch.from_numpy(point_grid(side)) * scale
        labels[0, : side**2, index] = FOREGROUND_LABEL
    images = [image[:, crop.top : crop.bottom, crop.left : crop.right] for crop in crops]
    return CropPrompts(torch.tensor([crop[:4] for crop in crops]), points, images, labels)


def filter_masks(
    logits: torch.Tensor,
    scores: torch.Tensor,
    image_size: Size,
    crop_box: Sequence[Any] | torch.Tensor,
    pred_iou_thresh: float,
    stability_score_thresh: float,
    mask_threshold: float,
    stability_score_offset: float,
) -> tuple[list[Rle], torch.Tensor, torch.Tensor]:
    """Keep the good masks of a crop.

    Args:
        logits: (P, M, crop height, crop width), M masks of each of P prompts.
        scores: (P, M), the IoU that the model predicts.
        image_size: (height, width) of the image.
        crop_box: left, top, right, bottom (exclusive) of the crop, in pixels of the image.
        pred_iou_thresh: the score must be above it; no filter at 0 and below.
        stability_score_thresh: the stability must be above it; no filter at 0 and below.
        mask_threshold: the logit above which a pixel belongs to the mask.
        stability_score_offset: in logits, see `stability_score`.

    Returns:
        Of the K masks that stay: uncompressed COCO RLE in the image; scores (K,); boxes (K, 4) int64 in the image,
        left, top, right, bottom (inclusive).

    Raises:
        ValueError: not as many scores as masks.
    """
    if logits.shape[:2] != scores.shape:
        raise ValueError(
            f"iou_scores must hold a score for each mask: expected {tuple(logits.shape[:2])}, got {tuple(scores.shape)}"
        )
    logits, scores = logits.flatten(0, 1), scores.flatten().to(logits.device)
    kept = torch.ones_like(scores, dtype=torch.bool)
    if pred_iou_thresh > 0:
        kept &= scores > pred_iou_thresh
    if stability_score_thresh > 0:
        kept &= stability_score(logits, mask_threshold, stability_score_offset) > stability_score_thresh
    masks, scores = logits[kept] > mask_threshold, scores[kept]
    left, top, right, bottom = (int(side) for side in crop_box)
    boxes = mask_to_box(masks) + torch.tensor([left, top, left, top], device=masks.device)
    crops = torch.tensor([[left, top, right, bottom]], device=masks.device)
    inside = ~is_near_crop_edge(boxes, crops, image_size)
    return mask_to_rle(masks[inside], image_size, (top, left)), scores[inside], boxes[inside]


def suppress_duplicates(
    rles: Sequence[Rle], scores: torch.Tensor, boxes: torch.Tensor, iou_threshold: float
) -> tuple[list[torch.Tensor], torch.Tensor, list[Rle], torch.Tensor]:
    """Suppress duplicates among the masks of all crops.

    Args:
        rles: K masks.
        scores: (K,), which of two is better.
        boxes: (K, 4), see `nms`.
        iou_threshold: boxes with an IoU above it suppress each other.

    Returns:
        Of the N masks that stay, best first: the masks (height, width) bool, scores (N,), RLE, boxes (N, 4).
    """
    kept = nms(boxes, scores, iou_threshold)
    left = [rles[index] for index in kept.tolist()]
    return [rle_to_mask(rle) for rle in left], scores[kept.to(scores.device)], left, boxes[kept]
