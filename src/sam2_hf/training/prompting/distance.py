"""Depth of pixels within regions: the distance to the nearest pixel outside.

Needs SciPy, which the extra `train` installs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...masks.boxes import mask_to_box


def squared_depth(regions: Tensor) -> Tensor:
    """Compute the squared Euclidean distance of every pixel to the nearest pixel outside its region, exactly.

    Args:
        regions: (K, H, W) bool. Everything beyond the image is outside.

    Returns:
        (K, H, W) int64 in squared pixels, on the same device; 0 outside.
    """
    depths = [_squared_depth(region) for region in regions.cpu().numpy()]
    stacked = np.stack(depths) if depths else np.zeros(tuple(regions.shape), np.int64)
    return torch.from_numpy(stacked).to(regions.device)


def deepest_points(regions: Tensor) -> tuple[Tensor, Tensor]:
    """Find the deepest pixel of each region.

    Args:
        regions: (K, H, W) bool.

    Returns:
        Points (K, 2) int64 as (x, y), and their squared depths (K,) int64, on the same device. Of several deepest
        pixels the first in reading order is taken; an empty region has (0, 0) and depth 0.
    """
    points = torch.zeros(len(regions), 2, dtype=torch.int64)
    depths = torch.zeros(len(regions), dtype=torch.int64)
    on_cpu = regions.cpu()
    for row, (left, top, right, bottom) in enumerate(mask_to_box(on_cpu).tolist()):
        # All pixels outside the box of a region are outside the region.
        depth = _squared_depth(on_cpu[row, top : bottom + 1, left : right + 1].numpy())
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        depths[row] = int(depth[y, x])
        if depths[row] > 0:
            points[row] = torch.tensor([int(x) + left, int(y) + top])
    return points.to(regions.device), depths.to(regions.device)


def _squared_depth(region: np.ndarray) -> np.ndarray:
    """(H, W) bool to (H, W) int64."""
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError as error:
        raise ImportError('distances need SciPy: pip install "sam2-hf[train]"') from error
    distance: np.ndarray = distance_transform_edt(np.pad(region, 1))
    return np.rint(distance[1:-1, 1:-1] ** 2).astype(np.int64)  # squares of distances between pixels are whole numbers
