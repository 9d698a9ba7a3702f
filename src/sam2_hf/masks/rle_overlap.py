"""How much masks overlap, counted on their run lengths, and non-maximum suppression by it. Exact: no mask is decoded.

Axes: N masks of one size. Run lengths are COCO's counts, see `masks.rle`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..arrays import Array, cast, like, to_numpy
from .rle import counts_dtype


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

    def intersections_with(self, counts: np.ndarray, others: Sequence[int] | np.ndarray) -> np.ndarray:
        """Count the pixels that a further mask, given by its counts, shares with others: (K,) int64."""
        further = RunIntervals([counts])
        further._starts += [self._starts[other] for other in others]
        further._stops += [self._stops[other] for other in others]
        return further.intersections(0, range(1, len(others) + 1))

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


def mask_nms(run_lengths: Sequence[np.ndarray], boxes: Array, scores: Array, iou_threshold: float) -> Array:
    """Suppress masks greedily: the best mask stays, all that overlap it too much go, and so on.

    Args:
        run_lengths: N arrays of counts.
        boxes: (N, 4), left, top, right, bottom (inclusive): masks whose boxes are apart need not be compared.
        scores: (N,). Of equal scores the first counts as better.
        iou_threshold: masks with an IoU above it suppress each other.

    Returns:
        Indices of the masks that stay, int64, by descending score, on the device of `boxes`.
    """
    intervals = RunIntervals(run_lengths)
    corners = to_numpy(boxes)
    remaining = np.argsort(-to_numpy(cast(scores, "float32")), kind="stable")
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
    return like(np.array(kept, dtype=np.int64), boxes, "int64")


def rectangle_run_lengths(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Compute the counts of a mask that is a rectangle.

    Args:
        box: left, top, right, bottom (exclusive) within the image.
        size: (height, width) of the image.

    Returns:
        The counts.
    """
    left, top, right, bottom = box
    height, width = size
    starts = np.arange(left, right, dtype=np.int64) * height + top
    return _counts_of(starts, starts + (bottom - top), height * width)


def join_run_lengths(run_lengths: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the counts of the union of masks of one size, of which there is at least one."""
    ends = [np.cumsum(counts, dtype=np.int64) for counts in run_lengths]
    pixels = int(ends[0][-1])
    starts = np.concatenate([bounds[0 : len(bounds) - len(bounds) % 2 : 2] for bounds in ends])
    stops = np.concatenate([bounds[1::2] for bounds in ends])
    order = starts.argsort(kind="stable")
    return _counts_of(starts[order], stops[order], pixels)


def intersect_run_lengths(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute the counts of what two masks of one size share."""
    bounds = [np.cumsum(counts, dtype=np.int64) for counts in (one, other)]
    pixels = int(bounds[0][-1])
    position = np.concatenate(bounds)
    # Coverage rises where a background ends, at even counts, and falls where a foreground ends.
    change = np.concatenate([1 - 2 * (np.arange(len(ends)) % 2) for ends in bounds])
    order = position.argsort(kind="stable")
    position, coverage = position[order], np.cumsum(change[order])
    both = np.flatnonzero(coverage == 2)
    return _counts_of(position[both], np.append(position, pixels)[both + 1], pixels)


def _counts_of(starts: np.ndarray, stops: np.ndarray, pixels: int) -> np.ndarray:
    """The counts of intervals in the order of their starts; they may touch and overlap."""
    filled = stops > starts
    starts, stops = starts[filled], stops[filled]
    reached = np.maximum.accumulate(stops)
    begins = np.ones(len(starts), bool)
    begins[1:] = starts[1:] > reached[:-1]
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(starts)) - 1
    bounds = np.stack([starts[firsts], reached[lasts]], axis=1).ravel() if len(firsts) else np.zeros(0, np.int64)
    counts = np.diff(bounds, prepend=0, append=pixels)
    return (counts[:-1] if len(bounds) and counts[-1] == 0 else counts).astype(counts_dtype(pixels))
