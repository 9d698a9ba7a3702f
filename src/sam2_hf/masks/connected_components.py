"""Connected components of binary masks, and what is done with the small ones: holes filled, sprinkles removed.

Components are found on runs, not on pixels: a mask has a few thousand horizontal runs where it has a million
pixels. Runs of neighbouring rows that touch are the edges of a graph, whose components are found by hooking every
tree to its smallest neighbour and then flattening all trees, until nothing is left to hook: O(log runs) rounds of
tensor operations (Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", 1982). The same code runs
on the CPU and on a GPU, and the result does not depend on the device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..arrays import Array, cast, concatenate, dtype_name, where
from .array_ops import (
    add_at,
    count_up,
    filled_where,
    find_set,
    least_and_greatest,
    lower_at,
    pad_last,
    raise_at,
    repeat_each,
    search,
    zeros,
)


class _Runs(NamedTuple):
    """Maximal horizontal runs of set pixels, in row-major order. All (runs,), int64."""

    line: Array  # row, counted through all images, with one empty row between images
    start: Array  # first column
    stop: Array  # column after the last
    root: Array  # index of the first run of the same component
    shape: tuple[int, int, int]  # images, height, width

    @property
    def length(self) -> Array:
        return self.stop - self.start

    def component_area(self) -> Array:
        """Number of pixels of the component that each run belongs to."""
        return add_at(zeros(len(self.root), self.root), self.root, self.length)[self.root]

    def image(self) -> Array:
        return self.line // (self.shape[1] + 1)

    def first_pixel(self) -> Array:
        """Row-major index in its image of each run's first pixel."""
        return self.line % (self.shape[1] + 1) * self.shape[2] + self.start

    def paint(self, values: Array) -> Array:
        """Images with one value for the pixels of each run, and zero or false for all others."""
        pixels = math.prod(self.shape)
        start = self.image() * (self.shape[1] * self.shape[2]) + self.first_pixel()
        edges = zeros(2 * len(start) + 2, start)
        edges[1:-1:2], edges[2:-1:2], edges[-1] = start, start + self.length, pixels
        alternating = zeros(2 * len(values) + 1, values)
        alternating[1::2] = values
        return repeat_each(alternating, edges[1:] - edges[:-1]).reshape(self.shape)


def connected_components(mask: Array) -> tuple[Array, Array]:
    """Label the 8-connected components of each mask.

    Args:
        mask: (..., height, width), bool.

    Returns:
        labels: (..., height, width) int32, 0 in the background. The label of a component is one more than the
            row-major index of its first pixel, so labels are unique within an image but not consecutive.
        areas: (..., height, width) int32, at each pixel the number of pixels of its component, 0 in the background.
    """
    runs = _labelled_runs(mask)
    labels = runs.paint(cast(runs.first_pixel()[runs.root] + 1, "int32"))
    areas = runs.paint(cast(runs.component_area(), "int32"))
    return labels.reshape(mask.shape), areas.reshape(mask.shape)


def small_components(mask: Array, max_area: float, keep_largest: bool = False) -> Array:
    """The pixels of all 8-connected components of at most `max_area` pixels.

    Args:
        mask: (..., height, width), bool.
        max_area: in pixels of the mask.
        keep_largest: spare the largest component of an image (the first of several) where all are small.

    Returns:
        (..., height, width), bool.
    """
    runs = _labelled_runs(mask)
    area = runs.component_area()
    small = area <= max_area
    if keep_largest:
        small &= ~_is_largest(runs, area)
    return runs.paint(small).reshape(mask.shape)


def fill_holes(masks: Array, max_area: float, threshold: float = 0.0, margin: float = 0.1) -> Array:
    """Make foreground of each 8-connected part of the background that has at most `max_area` pixels.

    Args:
        masks: (..., height, width), bool, or logits, whose background is what is not above `threshold`.
        max_area: in pixels of the masks as given. Nothing is filled at 0 or below.
        threshold: where the foreground of logits starts.
        margin: filled logits become ``threshold + margin``. The official predictor uses 0.1 for tracked masks and
            10 for masks of an image that it resizes afterwards.

    Returns:
        The masks with their holes filled; the input is not changed.
    """
    if max_area <= 0:
        return masks
    if dtype_name(masks) == "bool":
        return masks | small_components(~masks, max_area)
    return filled_where(masks, small_components(~(masks > threshold), max_area), threshold + margin)


def remove_sprinkles(
    masks: Array,
    max_area: float,
    threshold: float = 0.0,
    margin: float = 0.1,
    keep_largest: bool = False,
) -> Array:
    """Make background of each 8-connected part of the foreground that has at most `max_area` pixels.

    The counterpart of `fill_holes`.

    Args:
        masks: (..., height, width), bool, or logits, whose foreground is what is above `threshold`.
        max_area: in pixels of the masks as given. Nothing is removed at 0 or below.
        threshold: where the foreground of logits starts.
        margin: removed logits become ``threshold - margin``.
        keep_largest: whether a mask that is nothing but sprinkles keeps its largest one.

    Returns:
        The masks without them; the input is not changed.
    """
    if max_area <= 0:
        return masks
    if dtype_name(masks) == "bool":
        return masks & ~small_components(masks, max_area, keep_largest)
    return filled_where(masks, small_components(masks > threshold, max_area, keep_largest), threshold - margin)


def clean_logits(
    logits: Array, max_hole_area: float, max_sprinkle_area: float, threshold: float = 0.0, margin: float = 10.0
) -> Array:
    """Fill holes and remove sprinkles of the masks as given: filling a hole does not save a sprinkle in it.

    Args:
        logits: (..., height, width).
        max_hole_area: parts of the background of up to so many pixels become foreground; none at 0 and below.
        max_sprinkle_area: parts of the foreground of up to so many pixels become background; none at 0 and below.
        threshold: where the foreground starts.
        margin: what is filled becomes ``threshold + margin``, and what is removed ``threshold - margin``.

    Returns:
        Logits of the same shape; the input is not changed.
    """
    foreground = logits > threshold
    if max_hole_area > 0:
        logits = filled_where(logits, small_components(~foreground, max_hole_area), threshold + margin)
    if max_sprinkle_area > 0:
        logits = filled_where(logits, small_components(foreground, max_sprinkle_area), threshold - margin)
    return logits


def _labelled_runs(mask: Array) -> _Runs:
    if dtype_name(mask) != "bool" or mask.ndim < 2:
        raise ValueError(
            f"mask must be a bool tensor (..., height, width), got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    height, width = mask.shape[-2:]
    shape = (math.prod(mask.shape[:-2]), height, width)
    sides = pad_last(mask.reshape(shape), columns=1)
    switches = find_set(sides[..., 1:] != sides[..., :-1])
    row, column = switches // (width + 1), switches % (width + 1)
    line = row[::2] + row[::2] // max(height, 1)
    start, stop = concatenate((column[::2],)), concatenate((column[1::2],))  # copies, whose entries lie side by side
    root = _roots(*_touching(line, start, stop, width), len(line))
    return _Runs(line, start, stop, root, shape)


def _touching(line: Array, start: Array, stop: Array, width: int) -> tuple[Array, Array]:
    """Pairs (run, run of the row above) that share a side or a corner, as two index tensors.

    Pixels on a common number line, rows one after another: the runs that a run touches are a stretch of those of
    the row above, from the first that ends at or after its start to the last that starts at or before its end.
    """
    here = line * (width + 1)
    above = here - (width + 1)
    first = search(here + stop, above + start)
    after = search(here + start, above + stop, right=True)
    pairs = after - first
    lower = repeat_each(count_up(len(line), line), pairs)
    rank = count_up(len(lower), line) - repeat_each(pairs.cumsum(0) - pairs, pairs)
    return lower, repeat_each(first, pairs) + rank


def _roots(a: Array, b: Array, count: int) -> Array:
    """For each of `count` nodes, the smallest node connected to it by the edges (a, b)."""
    root = count_up(count, a)
    while True:
        low, high = least_and_greatest(root[a], root[b])
        apart = low != high
        if not apart.any():
            return root
        a, b, low, high = a[apart], b[apart], low[apart], high[apart]
        lower_at(root, high, low)
        while bool((root != (flatter := root[root])).any()):
            root = flatter


def _is_largest(runs: _Runs, area: Array) -> Array:
    """Whether each run belongs to its image's largest component, the first of several."""
    image, images = runs.image(), runs.shape[0]
    most = raise_at(zeros(images, area), image, area)
    candidate = where(area == most[image], runs.root, len(area))
    chosen = lower_at(zeros(images, area) + len(area), image, candidate)
    return chosen[image] == runs.root
