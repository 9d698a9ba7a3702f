"""Boxes of masks and non-maximum suppression, in plain code for tensors on CPU and GPU, and for arrays.

NMS is written here because the package does not need torchvision, which has the only other one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Array, cast, like, to_numpy
from ..sizes import Size

if TYPE_CHECKING:
    import torch


def mask_to_box(masks: torch.Tensor) -> torch.Tensor:
    """Find the tight box around each mask.

    Args:
        masks: (..., height, width), bool.

    Returns:
        (..., 4), int64: left, top, right, bottom as pixel indices, right and bottom inclusive. Zeros for an empty
        mask.
    """
    import torch

    bytes_ = masks.bool().contiguous().view(torch.uint8)  # amax over bytes is vectorised, any over bools is not
    if bytes_.numel() == 0:
        return torch.zeros(*masks.shape[:-2], 4, dtype=torch.int64, device=masks.device)
    left, right = _extent(bytes_.amax(-2))
    top, bottom = _extent(bytes_.amax(-1))
    return torch.stack([left, top, right, bottom], dim=-1)


def _extent(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last index of the non-zero entries of (..., length); (0, 0) where there are none."""
    import torch

    position = torch.arange(occupied.shape[-1], device=occupied.device)
    last = torch.where(occupied > 0, position, 0).amax(-1)
    first = torch.where(occupied > 0, position, last.unsqueeze(-1)).amin(-1)
    return first, last


def is_near_crop_edge(boxes: Array, crops: Array, image_size: Size, tolerance: float = 20) -> Array:
    """Find boxes whose object probably goes on outside of the crop that it was found on.

    Args:
        boxes: (N, 4), left, top, right, bottom in pixels of the image.
        crops: (N or 1, 4), the same of the crops; right and bottom are exclusive.
        image_size: (height, width).
        tolerance: in pixels.

    Returns:
        (N,) bool, True for boxes that come that close to an edge of their crop that is not one of the image's.
    """
    height, width = image_size
    image = like([0, 0, width, height], boxes)
    at_crop = abs(boxes - crops) <= tolerance
    at_image = abs(boxes - image) <= tolerance
    return (at_crop & ~at_image).any(1)


def nms(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    categories: Array | None = None,
) -> Array:
    """Suppress boxes greedily: the best box stays, all that overlap it too much go, and so on.

    Boxes span from (left, top) to (right, bottom), as in torchvision. Where two boxes have no area, as those of
    masks one pixel wide have not, they are compared with right and bottom taken as inclusive pixel indices:
    equal lines then suppress each other.

    Args:
        boxes: (boxes, 4): left, top, right, bottom.
        scores: (boxes,). Of equal scores the first counts as better.
        iou_threshold: boxes with an IoU above it suppress each other.
        categories: (boxes,), any integers; only boxes of the same category suppress each other.

    Returns:
        Indices of the boxes that stay, int64, by descending score, on the device of `boxes`.

    Raises:
        ValueError: shapes that do not match.
    """
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or tuple(scores.shape) != tuple(boxes.shape[:1]):
        raise ValueError(
            f"nms expects boxes (boxes, 4) and scores (boxes,), "
            f"got shapes {tuple(boxes.shape)} and {tuple(scores.shape)}"
        )
    # A loop with a decision in each round belongs on the CPU; boxes are few bytes.
    remaining = np.argsort(-to_numpy(cast(scores, "float32")), kind="stable")
    corners = to_numpy(cast(boxes, "float32"))
    kinds = None if categories is None else to_numpy(categories)
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        suppressed = _box_iou(corners[best], corners[remaining]) > iou_threshold
        if kinds is not None:
            suppressed &= kinds[remaining] == kinds[best]
        remaining = remaining[~suppressed]
    return like(np.array(kept, dtype=np.int64), boxes, "int64")


def _box_iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of one box (4,) with others (boxes, 4), in float64 from float32 areas."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    intersection = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - intersection
    flat = union <= 0
    if flat.any():
        pixels = np.prod(np.maximum(sides[flat] + 1, 0), axis=1)
        own = np.prod(box[2:] - box[:2] + 1)
        intersection[flat] = pixels
        union[flat] = own + np.prod(others[flat, 2:] - others[flat, :2] + 1, axis=1) - pixels
    return (intersection / union).astype(np.float64)
