"""The masks that a memory policy chooses from, and what is measured on them.

Everything here takes NumPy arrays and tensors alike, and waits for no device. Axes: N objects, M candidates, h and w of
the decoder's masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...arrays import Array, concatenate, index_beside, is_tensor


@dataclass(frozen=True)
class MaskCandidates:
    """The candidate masks of N objects, M each.

    Attributes:
        masks: their logits, (N, M, h, w).
        ious: the model's estimates of their IoU, (N, M).
        object_scores: (N,), above 0 where the object is visible.
        take: brings nested lists of numbers to the device of the masks, in the dtype named.
    """

    masks: Array
    ious: Array
    object_scores: Array
    take: Callable[[Any, str], Array]

    @cached_property
    def boxes(self) -> Array:
        """The tight boxes of the masks; see `boxes_of`."""
        return boxes_of(self.masks)

    def of_each(self, values: Array, chosen: Array) -> Array:
        """Take the value of one candidate of every object: (N, M, ...) to (N, ...)."""
        return values[index_beside(len(values), values), chosen]

    def numbers(self, values: Sequence[Any]) -> Array:
        """Bring numbers to the device, float32."""
        return self.take(list(values), "float32")


def boxes_of(masks: Array) -> Array:
    """Find the tight box of each mask.

    Args:
        masks: (..., h, w), above 0 inside.

    Returns:
        (..., 4) int64: left, top, right, bottom in pixels of the mask, the edges of its first and last pixels. The box
        of an empty mask ends before it starts.
    """
    left, right = _extent(_largest(masks, -2) > 0)
    top, bottom = _extent(_largest(masks, -1) > 0)
    return concatenate([side[..., None] for side in (left, top, right, bottom)], axis=-1)


def box_ious(boxes: Array, others: Array) -> Array:
    """Compute the IoU of boxes (..., 4) with others that broadcast to them; 0 where either is empty."""
    sides = concatenate([_overlap(boxes, others, axis)[..., None] for axis in (0, 1)], axis=-1)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(boxes) + _area(others) - intersection
    return intersection / (union + (union <= 0))


def _overlap(boxes: Array, others: Array, axis: int) -> Array:
    low, high = boxes[..., axis], boxes[..., axis + 2]
    other_low, other_high = others[..., axis], others[..., axis + 2]
    start = low + (other_low - low).clip(0)
    stop = high - (high - other_high).clip(0)
    return (stop - start).clip(0)


def _area(boxes: Array) -> Array:
    return (boxes[..., 2] - boxes[..., 0]).clip(0) * (boxes[..., 3] - boxes[..., 1]).clip(0)


def _largest(values: Array, axis: int) -> Array:
    return values.amax(axis) if is_tensor(values) else values.max(axis)


def _extent(occupied: Array) -> tuple[Array, Array]:
    """The first index that is set in (..., length), and the one after the last; length and 0 where none is."""
    count = occupied.cumsum(-1)
    before, total = (count == 0).sum(-1), count[..., -1:]
    return before, (count < total).sum(-1) + (total[..., 0] > 0)
