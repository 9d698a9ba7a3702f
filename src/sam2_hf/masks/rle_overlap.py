"""How much masks overlap, counted on their run lengths, and non-maximum suppression by it. Exact: no mask is decoded.

Axes: N masks of one size. Run lengths are COCO's counts, see `masks.rle`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class RunIntervals:
    """The foreground of N masks as intervals of column-major pixel indices.

    Args:
        run_lengths: N arrays of counts of masks of one size, background first.
    """

    def __init__(self, run_lengths: Sequence[np.ndarray]):
        ends = [np.cumsum(counts, dtype=np.int64) for counts in run_lengths]
        # An interval starts where the background ends. A last background has no interval behind it.
        self._starts = [bounds[0 : len(bounds) - len(bounds) % 2 : 2] for bounds in ends]
        self._stops = [bounds[1::2] for bounds in ends]
        self.areas = np.array([(b - a).sum() for a, b in zip(self._starts, self._stops, strict=True)], np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def intersections(self, one: int, others: Sequence[int] | np.ndarray) -> np.ndarray:
        """Count the pixels that a mask shares with others.

        Args:
            one: its index.
            others: K indices.

        Returns:
            (K,) int64.
        """
        if not len(others):
            return np.zeros(0, np.int64)
        starts = np.concatenate([self._starts[other] for other in others])
        stops = np.concatenate([self._stops[other] for other in others])
        shared = self._pixels_before(one, stops) - self._pixels_before(one, starts)
        bounds = np.cumsum([0, *(len(self._starts[other]) for other in others)])
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(shared)])
        return total[bounds[1:]] - total[bounds[:-1]]

    def ious(self, one: int, others: Sequence[int] | np.ndarray) -> np.ndarray:
        """Measure the IoU of a mask with others: (K,) float64; 0 where both are empty."""
        shared = self.intersections(one, others)
        union = self.areas[one] + self.areas[np.asarray(others, np.int64)] - shared
        return shared / np.maximum(union, 1)

    def _pixels_before(self, mask: int, positions: np.ndarray) -> np.ndarray:
        """How many pixels of a mask lie before each of some positions."""
        starts, stops = self._starts[mask], self._stops[mask]
        if not len(starts):
            return np.zeros(len(positions), np.int64)
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(stops - starts)])
        begun = np.searchsorted(starts, positions)  # intervals that start before the position
        reached = np.minimum(positions - starts[begun - 1], (stops - starts)[begun - 1])
        return np.where(begun > 0, total[begun - 1] + reached, 0)


def mask_nms(
    run_lengths: Sequence[np.ndarray], boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Suppress masks greedily: the best mask stays, all that overlap it too much go, and so on.

    Args:
        run_lengths: N arrays of counts.
        boxes: (N, 4), left, top, right, bottom (inclusive): masks whose boxes are apart need not be compared.
        scores: (N,). Of equal scores the first counts as better.
        iou_threshold: masks with an IoU above it suppress each other.

    Returns:
        Indices of the masks that stay, int64, by descending score, on the CPU.
    """
    intervals = RunIntervals(run_lengths)
    corners = boxes.detach().cpu().numpy()
    remaining = scores.detach().float().cpu().argsort(descending=True, stable=True).numpy()
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        left, top, right, bottom = corners[remaining].T
        first, second, third, fourth = corners[best]
        touches = (left <= third) & (right >= first) & (top <= fourth) & (bottom >= second)
        suppressed = np.zeros(len(remaining), bool)
        suppressed[touches] = intervals.ious(best, remaining[touches]) > iou_threshold
        remaining = remaining[~suppressed]
    return torch.from_numpy(np.array(kept, dtype=np.int64))
