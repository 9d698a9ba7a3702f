"""Rivals of a mask: what other candidates for the same object cover besides it.

Everything here takes NumPy arrays and tensors alike, and waits for no accelerator. Axes: N objects, M candidates, h and
w of the decoder's masks.
"""

from __future__ import annotations

from ...arrays import Array, concatenate, count_each, index_beside, is_on_accelerator, lower_at, where
from .candidates import box_ious, boxes_of


def rival_overlaps(masks: Array, chosen: Array) -> Array:
    """Compare the box of a mask with its box joined with a rival.

    A rival is the largest 8-connected component of what another candidate covers besides the mask.

    Args:
        masks: candidates, (N, M, h, w), bool.
        chosen: which of them is the mask, (N,) int64.

    Returns:
        The smallest IoU of the two boxes over the candidates, (N, M) to (N,); 1 where there is no rival.
    """
    count, several, *size = masks.shape
    taken = masks[index_beside(count, masks), chosen][:, None]
    rivals = largest_components((masks & ~taken).reshape(count * several, *size)).reshape(masks.shape)
    overlaps = box_ious(boxes_of(rivals | taken), boxes_of(taken))
    smallest = overlaps[:, 0]
    for candidate in range(1, several):
        smallest = _lower(smallest, overlaps[:, candidate])
    return smallest


def largest_components(masks: Array) -> Array:
    """Keep of each mask its largest 8-connected component, the first of several.

    Every pixel points to one of its component with a smaller index, its own at first. The targets of neighbours are
    hooked to the smaller of them, and paths are halved, until all point to the first pixel of their component: FastSV
    (Zhang et al., arXiv 1910.05971). An accelerator is not asked whether that is so: it does as many rounds as a mask
    can be expected to need, the number of bits of its longest side and some more.

    Args:
        masks: (B, h, w), bool.

    Returns:
        (B, h, w), bool.
    """
    count, height, width = masks.shape
    pixels = count * height * width
    flat = masks.reshape(pixels)
    own = index_beside(pixels, masks)
    nowhere = own[:1] * 0 + pixels  # where background points to
    target = concatenate([where(flat, own, pixels), nowhere])
    asks = not is_on_accelerator(masks)
    for _ in range(pixels if asks else max(height, width).bit_length() + 6):
        before = target
        around = _smallest_around(target[target[:pixels]].reshape(masks.shape), pixels).reshape(pixels)
        around = where(flat, around, pixels)
        target = lower_at(target, target[:pixels], around)
        target = concatenate([_lower(target[:pixels], around), nowhere])
        target = target[target]
        if asks and bool((target == before).all()):
            break
    areas = count_each(target, pixels + 1)[:pixels].reshape(count, height * width)
    largest = areas.argmax(-1) + index_beside(count, masks) * (height * width)
    return (target[:pixels].reshape(count, -1) == largest[:, None]).reshape(masks.shape) & masks


def _smallest_around(values: Array, beyond: int) -> Array:
    """The smallest value of each pixel (B, h, w) and its eight neighbours."""
    for axis in (-1, -2):
        first, last = (values[..., :1], values[..., -1:]) if axis == -1 else (values[..., :1, :], values[..., -1:, :])
        onward = values[..., 1:] if axis == -1 else values[..., 1:, :]
        back = values[..., :-1] if axis == -1 else values[..., :-1, :]
        after = concatenate([onward, last * 0 + beyond], axis=axis)
        ahead = concatenate([first * 0 + beyond, back], axis=axis)
        values = _lower(values, _lower(after, ahead))
    return values


def _lower(one: Array, other: Array) -> Array:
    return where(one < other, one, other)
