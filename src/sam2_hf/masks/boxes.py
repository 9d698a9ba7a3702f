"""Boxes of masks and non-maximum suppression, in plain tensor code for CPU and GPU.

NMS is written here because the package does not need torchvision, which has the only other one.
"""

from __future__ import annotations

import numpy as np
import torch

from ..sizes import Size


def mask_to_box(masks: torch.Tensor) -> torch.Tensor:
    """Find the tight box around each mask.

    Args:
        masks: (..., height, width), bool.

    Returns:
        (..., 4), int64: left, top, right, bottom as pixel indices, right and bottom inclusive. Zeros for an empty
        mask.
    """
    bytes_ = masks.bool().contiguous().view(torch.uint8)  # amax over bytes is vectorised, any over bools is not
    if bytes_.numel() == 0:
        return torch.zeros(*masks.shape[:-2], 4, dtype=torch.int64, device=masks.device)
    left, right = _extent(bytes_.amax(-2))
    top, bottom = _extent(bytes_.amax(-1))
    return torch.stack([left, top, right, bottom], dim=-1)


def _extent(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last index of the non-zero entries of (..., length); (0, 0) where there are none."""
    position = torch.arange(occupied.shape[-1], device=occupied.device)
    last = torch.where(occupied > 0, position, 0).amax(-1)
    first = torch.where(occupied > 0, position, last.unsqueeze(-1)).amin(-1)
    return first, last


def is_near_crop_edge(
    boxes: torch.Tensor, crops: torch.Tensor, image_size: Size, tolerance: float = 20
) -> torch.Tensor:
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
    image = torch.tensor([0, 0, width, height], device=boxes.device)
    at_crop = (boxes - crops).abs() <= tolerance
    at_image = (boxes - image).abs() <= tolerance
    return (at_crop & ~at_image).any(dim=1)


def nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    iou_threshold: float,
    categories: torch.Tensor | None = None,
) -> torch.Tensor:
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
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"nms expects boxes (boxes, 4) and scores (boxes,), "
            f"got shapes {tuple(boxes.shape)} and {tuple(scores.shape)}"
        )
    # A loop with a decision in each round belongs on the CPU; boxes are few bytes.
    order = scores.detach().float().cpu().argsort(descending=True, stable=True)
    remaining = order.numpy()
    corners = boxes.detach().float().cpu().numpy()
    kinds = None if categories is None else categories.detach().cpu().numpy()
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        suppressed = _box_iou(corners[best], corners[remaining]) > iou_threshold
        if kinds is not None:
            suppressed &= kinds[remaining] == kinds[best]
        remaining = remaining[~suppressed]
    return torch.as_tensor(np.array(kept, dtype=np.int64), device=boxes.device)


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
