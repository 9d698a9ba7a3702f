"""Masks at an image's size from low-resolution logits, without ever making the logits at that size.

Bilinear resizing goes axis by axis. After the width is done, what is left in each column is a piecewise linear
function of the height, which crosses a threshold at rows that a division finds. So the mask at full height needs no
pixels: it is the list of the rows where each column switches on or off, a few thousand numbers, and areas and
run-length codes are sums and differences of them. The full-height logits, which the plain way computes (`F.interpolate`
to the full size, then a comparison), are the larger part of the work and of the memory.

Equal to the plain way, `cut`, but for pixels whose logit is the threshold up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..arrays import Array, cast, concatenate, is_tensor, where
from ..inputs.resizing import resize_logits
from ..masks.array_ops import add_at, count_pixels, find_set, pad_last, round_down, round_up, zeros
from ..masks.rle import mask_run_lengths, run_lengths
from ..masks.stability import stability_of_areas

# Where more than this part of all low-resolution cells switches, the masks are noise, and a division a switch costs
# more than a product a pixel.
_RAGGED = 0.1
_PIXELS_AT_ONCE = 2**25  # bounds the memory of the plain way


class UpsampledLogits(NamedTuple):
    """Logits of which the width is resized, and the height only by definition.

    Attributes:
        columns: (masks, low-resolution height, width), float32.
        height: full height, in pixels.
    """

    columns: Array
    height: int


class Switches(NamedTuple):
    """Where columns go on or off, down from a background above the image: all (switches,), int64, on one device.

    Sorted by mask only. A column may go on and off, and on again, at the same row: only the parity counts.
    """

    mask: Array
    column: Array
    row: Array  # the first row of the new state; the height where a column ends switched on
    goes_on: Array  # bool


def upsample(logits: Array, size: tuple[int, int]) -> UpsampledLogits:
    """Prepare logits for thresholding at another size.

    Args:
        logits: (masks, height, width).
        size: (height, width) in pixels.
    """
    height, width = size
    stretched = resize_logits(cast(logits, "float32")[:, None], (logits.shape[1], width))
    return UpsampledLogits(stretched[:, 0], height)


def find_switches(logits: UpsampledLogits, threshold: float) -> Switches | None:
    """Find where the columns of the masks ``upsampled logits > threshold`` switch.

    Args:
        logits: of all masks.
        threshold: in logits.

    Returns:
        The switches; None where so many columns switch that the plain way is cheaper, unless a mask has so many pixels
        that it would take too much memory.
    """
    columns, height = logits
    _, low_height, width = columns.shape
    above = pad_last(columns > threshold, rows=1)
    found = find_set(above[:, 1:] != above[:, :-1])
    if len(found) > _RAGGED * math.prod(columns.shape) and height * width <= _PIXELS_AT_ONCE:
        return None
    line = found // width
    column, mask = found - line * width, line // (low_height + 1)
    low_row = line - mask * (low_height + 1)  # the switch is between low rows low_row - 1 and low_row

    exact = "float32" if is_tensor(columns) and columns.device.type == "mps" else "float64"
    values, position = columns.reshape(-1), found - mask * width
    before = cast(values[(position - width).clip(min=0)], exact)
    after = cast(values[position.clip(max=len(values) - 1)], exact)
    goes_on, at_top, at_foot = after > threshold, low_row == 0, low_row == low_height
    # Where a column begins or ends there is nothing to divide; its row is set below.
    difference = where(at_top | at_foot, 1, after - before)
    # Sample centres are half a pixel in: row r of the image lies at (r + 1/2) * low_height / height - 1/2.
    crossing = (threshold - before) / difference + (low_row - 0.5)
    exact_row = crossing * (height / low_height) - 0.5
    # A pixel exactly on the threshold is background: off at that row already, on only after it.
    row = where(goes_on, round_down(exact_row) + 1, round_up(exact_row)).clip(0, height)
    row = where(at_foot, height, where(at_top, 0, cast(row, "int64")))
    return Switches(mask, column, row, goes_on & ~at_foot)


def cut(logits: UpsampledLogits, threshold: float) -> Iterator[Array]:
    """Make the masks ``upsampled logits > threshold`` in pixels: the plain way.

    Args:
        logits: of all masks.
        threshold: in logits.

    Yields:
        (some masks, height, width) bool at a time.
    """
    width = logits.columns.shape[2]
    at_once = max(1, _PIXELS_AT_ONCE // (logits.height * width))
    for start in range(0, len(logits.columns), at_once):
        part = logits.columns[start : start + at_once]
        yield resize_logits(part[:, None], (logits.height, width))[:, 0] > threshold


def areas(logits: UpsampledLogits, threshold: float) -> Array:
    """Count the pixels of each of the masks ``upsampled logits > threshold``.

    Args:
        logits: of all masks.
        threshold: in logits.

    Returns:
        (masks,), int64.
    """
    switches = find_switches(logits, threshold)
    if switches is None:
        return concatenate([*map(count_pixels, cut(logits, threshold))])
    # The rows where columns go off less the rows where they go on.
    total = zeros(len(logits.columns), switches.row)
    return add_at(total, switches.mask, where(switches.goes_on, -switches.row, switches.row))


def stability(logits: UpsampledLogits, threshold: float, offset: float) -> Array:
    """Compute `masks.stability_score` of the upsampled logits.

    Args:
        logits: of all masks.
        threshold: in logits.
        offset: in logits.

    Returns:
        (masks,), float32.
    """
    inner, outer = areas(logits, threshold + offset), areas(logits, threshold - offset)
    return stability_of_areas(inner, outer)


def encode(
    logits: UpsampledLogits, threshold: float, image_size: tuple[int, int], offset: tuple[int, int]
) -> list[np.ndarray]:
    """Compute `rle.mask_run_lengths` of the masks ``upsampled logits > threshold``, placed in an image.

    Args:
        logits: of a part of the image.
        threshold: in logits.
        image_size: (height, width) of the image, in pixels.
        offset: (top, left) of the part.

    Returns:
        The counts of each mask.
    """
    switches = find_switches(logits, threshold)
    if switches is None:
        parts = (mask_run_lengths(masks, image_size, offset) for masks in cut(logits, threshold))
        return list(chain.from_iterable(parts))
    top, left = offset
    positions = (switches.column + left) * image_size[0] + switches.row + top
    return run_lengths(switches.mask, positions, len(logits.columns), image_size)
