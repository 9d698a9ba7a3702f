"""Connected components of binary masks, and what is done with the small ones: holes filled, sprinkles removed.

Components are found on runs, not on pixels: a mask has a few thousand horizontal runs where it has a million
pixels. Runs of neighbouring rows that touch are the edges of a graph, whose components are found by hooking every
tree to its smallest neighbour and then flattening all trees, until nothing is left to hook: O(log runs) rounds of
tensor operations (Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", 1982). The same code runs
on the CPU and on a GPU, and the result does not depend on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

from .array_ops import find_set, repeat_each


class _Runs(NamedTuple):
    """Maximal horizontal runs of set pixels, in row-major order. All (runs,), int64."""

    line: torch.Tensor  # row, counted through all images, with one empty row between images
    start: torch.Tensor  # first column
    stop: torch.Tensor  # column after the last
    root: torch.Tensor  # index of the first run of the same component
    shape: torch.Size  # images, height, width

    @property
    def length(self) -> torch.Tensor:
        return self.stop - self.start

    def component_area(self) -> torch.Tensor:
        """Number of pixels of the component that each run belongs to."""
        return torch.zeros_like(self.root).scatter_add_(0, self.root, self.length)[self.root]

    def image(self) -> torch.Tensor:
        return self.line // (self.shape[1] + 1)

    def first_pixel(self) -> torch.Tensor:
        """Row-major index in its image of each run's first pixel."""
        return self.line % (self.shape[1] + 1) * self.shape[2] + self.start

    def paint(self, values: torch.Tensor) -> torch.Tensor:
        """Images with one value for the pixels of each run, and zero or false for all others."""
        pixels = self.shape.numel()
        start = self.image() * (self.shape[1] * self.shape[2]) + self.first_pixel()
        edges = torch.stack([start, start + self.length], dim=1).flatten()
        stretches = edges.diff(prepend=edges.new_zeros(1), append=edges.new_full((1,), pixels))
        alternating = values.new_zeros(2 * len(values) + 1)
        alternating[1::2] = values
        return repeat_each(alternating, stretches).view(self.shape)


def connected_components(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Label the 8-connected components of each mask.

    Args:
        mask: (..., height, width), bool.

    Returns:
        labels: (..., height, width) int32, 0 in the background. The label of a component is one more than the
            row-major index of its first pixel, so labels are unique within an image but not consecutive.
        areas: (..., height, width) int32, at each pixel the number of pixels of its component, 0 in the background.
    """
    runs = _labelled_runs(mask)
    labels = runs.paint((runs.first_pixel()[runs.root] + 1).int())
    areas = runs.paint(runs.component_area().int())
    return labels.view(mask.shape), areas.view(mask.shape)


def small_components(mask: torch.Tensor, max_area: float, keep_largest: bool = False) -> torch.Tensor:
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
    return runs.paint(small).view(mask.shape)


def fill_holes(masks: torch.Tensor, max_area: float, threshold: float = 0.0, margin: float = 0.1) -> torch.Tensor:
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
    if masks.dtype == torch.bool:
        return masks | small_components(~masks, max_area)
    return masks.masked_fill(small_components(~(masks > threshold), max_area), threshold + margin)


def remove_sprinkles(
    masks: torch.Tensor,
    max_area: float,
    threshold: float = 0.0,
    margin: float = 0.1,
    keep_largest: bool = False,
) -> torch.Tensor:
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
    if masks.dtype == torch.bool:
        return masks & ~small_components(masks, max_area, keep_largest)
    return masks.masked_fill(small_components(masks > threshold, max_area, keep_largest), threshold - margin)


def clean_logits(
    logits: torch.Tensor, max_hole_area: float, max_sprinkle_area: float, threshold: float = 0.0, margin: float = 10.0
) -> torch.Tensor:
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
        logits = logits.masked_fill(small_components(~foreground, max_hole_area), threshold + margin)
    if max_sprinkle_area > 0:
        logits = logits.masked_fill(small_components(foreground, max_sprinkle_area), threshold - margin)
    return logits


def _labelled_runs(mask: torch.Tensor) -> _Runs:
    if mask.dtype != torch.bool or mask.ndim < 2:
        raise ValueError(
            f"mask must be a bool tensor (..., height, width), got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    shape = torch.Size((mask.shape[:-2].numel(), *mask.shape[-2:]))
    _, height, width = shape
    sides = F.pad(mask.reshape(shape), (1, 1))
    switches = find_set(sides[..., 1:] != sides[..., :-1])
    row, column = switches // (width + 1), switches % (width + 1)
    line = row[::2] + row[::2] // max(height, 1)
    start, stop = column[::2].contiguous(), column[1::2].contiguous()
    root = _roots(*_touching(line, start, stop, width), len(line))
    return _Runs(line, start, stop, root, shape)


def _touching(
    line: torch.Tensor, start: torch.Tensor, stop: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs (run, run of the row above) that share a side or a corner, as two index tensors.

    Pixels on a common number line, rows one after another: the runs that a run touches are a stretch of those of
    the row above, from the first that ends at or after its start to the last that starts at or before its end.
    """
    here = line * (width + 1)
    above = here - (width + 1)
    first = torch.searchsorted(here + stop, above + start)
    after = torch.searchsorted(here + start, above + stop, right=True)
    pairs = after - first
    index = torch.arange(len(line), device=line.device)
    lower = index.repeat_interleave(pairs)
    rank = torch.arange(len(lower), device=line.device) - (pairs.cumsum(0) - pairs).repeat_interleave(pairs)
    return lower, first.repeat_interleave(pairs) + rank


def _roots(a: torch.Tensor, b: torch.Tensor, count: int) -> torch.Tensor:
    """For each of `count` nodes, the smallest node connected to it by the edges (a, b)."""
    root = torch.arange(count, device=a.device)
    while True:
        low, high = torch.minimum(root[a], root[b]), torch.maximum(root[a], root[b])
        apart = low != high
        if not apart.any():
            return root
        a, b, low, high = a[apart], b[apart], low[apart], high[apart]
        root.scatter_reduce_(0, high, low, "amin")
        while not torch.equal(root, flatter := root[root]):
            root = flatter


def _is_largest(runs: _Runs, area: torch.Tensor) -> torch.Tensor:
    """Whether each run belongs to its image's largest component, the first of several."""
    image, images = runs.image(), runs.shape[0]
    most = area.new_zeros(images).scatter_reduce_(0, image, area, "amax")
    candidate = torch.where(area == most[image], runs.root, len(area))
    chosen = area.new_full((images,), len(area)).scatter_reduce_(0, image, candidate, "amin")
    return chosen[image] == runs.root
