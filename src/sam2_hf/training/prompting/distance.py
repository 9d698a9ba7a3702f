"""How deep inside a region each of its pixels lies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...masks.boxes import mask_to_box


def squared_depth(regions: Tensor) -> Tensor:
    """Squared Euclidean distance of every pixel to the nearest one outside its region; exact.

    `regions` (K, H, W) bool; what lies beyond the image is outside. Returns (K, H, W) int64, 0 outside.

    First along the columns, then along the rows: the square of a distance is the sum of the squares of its two legs
    (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", 2012). The second pass tries one
    horizontal leg after the other and stops when no longer one can matter, after as many rounds as the deepest pixel
    is deep.
    """
    if not bool(regions.any()):
        return torch.zeros_like(regions, dtype=torch.int64)
    vertical = _depth_in_columns(regions) ** 2
    depth, width, leg = vertical, regions.shape[-1], 1
    while leg**2 < int(depth.amax()):
        # A column beyond the image is all outside, so the vertical leg there is 0.
        padded = F.pad(vertical, (leg, leg))
        depth = torch.minimum(depth, padded[..., :width] + leg**2)
        depth = torch.minimum(depth, padded[..., 2 * leg :] + leg**2)
        leg += 1
    return depth


def deepest_points(regions: Tensor) -> tuple[Tensor, Tensor]:
    """The deepest pixel of each region (K, H, W): (x, y) as (K, 2) int64, and its squared depth (K,).

    Of several, the first in reading order; of an empty region (0, 0), with depth 0.
    """
    points = torch.zeros(len(regions), 2, dtype=torch.int64, device=regions.device)
    depths = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
    for row, (left, top, right, bottom) in enumerate(mask_to_box(regions).tolist()):
        # Nothing outside the box around a region belongs to it, so the box is all that needs looking at.
        depth = squared_depth(regions[row : row + 1, top : bottom + 1, left : right + 1])[0]
        depths[row] = depth.amax()
        if depths[row] > 0:
            y, x = (depth == depths[row]).nonzero()[0]
            points[row] = torch.stack((x + left, y + top))
    return points, depths


def _depth_in_columns(regions: Tensor) -> Tensor:
    """Distance to the nearest outside pixel of the same column, (K, H, W) int64."""
    height = regions.shape[-2]
    rows = torch.arange(height, device=regions.device)[:, None]
    above = torch.where(regions, -1, rows).cummax(dim=-2).values
    below = torch.where(regions, height, rows).flip(-2).cummin(dim=-2).values.flip(-2)
    return torch.minimum(rows - above, below - rows)
