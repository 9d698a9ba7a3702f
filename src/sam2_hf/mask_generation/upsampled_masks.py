"""Masks at an image's size from low-resolution logits, without ever making the logits at that size.

Bilinear resizing goes axis by axis. After the width is done, what is left in each column is a piecewise linear
function of the height, which crosses a threshold at rows that a division finds. So the mask at full height needs no
pixels: it is the list of the rows where each column switches on or off, a few thousand numbers, and areas and
run-length codes are sums and differences of them. The full-height logits, which the plain way computes (`F.interpolate`
to the full size, then a comparison), are the larger part of the work and of the memory.

Equal to the plain way, `cut`, but for pixels whose logit is the threshold up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from ..masks.array_ops import count_pixels, find_set
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

    columns: torch.Tensor
    height: int


class Switches(NamedTuple):
    """Where columns go on or off, down from a background above the image: all (switches,), int64, on one device.

    Sorted by mask only. A column may go on and off, and on again, at the same row: only the parity counts.
    """

    mask: torch.Tensor
    column: torch.Tensor
    row: torch.Tensor  # the first row of the new state; the height where a column ends switched on
    goes_on: torch.Tensor  # bool


def upsample(logits: torch.Tensor, size: tuple[int, int]) -> UpsampledLogits:
    """Prepare logits for thresholding at another size.

    Args:
        logits: (masks, height, width).
        size: (height, width) in pixels.
    """
    height, width = size
    if len(logits) == 0:
        return UpsampledLogits(logits.new_zeros(0, logits.shape[1], width, dtype=torch.float32), height)
    stretched = F.interpolate(logits.float()[:, None], (logits.shape[1], width), mode="bilinear", align_corners=False)
    return UpsampledLogits(stretched[:, 0], height)


def find_switches(logits: UpsampledLogits, threshold: float) -> Switches | None:
    """Find where the columns of the masks ``upsampled logits > threshold`` switch.

    Args:
        logits: of all masks.
        threshold: in logits.

    Returns:
        The switches; None where so many columns switch that the plain way is cheaper.
    """
    columns, height = logits
    _, low_height, width = columns.shape
    above = F.pad(columns > threshold, (0, 0, 1, 1))
    found = find_set(above[:, 1:] != above[:, :-1])
    if len(found) > _RAGGED * columns.numel():
        return None
    line = found // width
    column, mask = found - line * width, line // (low_height + 1)
    low_row = line - mask * (low_height + 1)  # the switch is between low rows low_row - 1 and low_row

    exact = torch.float32 if columns.device.type == "mps" else torch.float64
    values, position = columns.flatten(), found - mask * width
    before = values[(position - width).clamp_(min=0)].to(exact)
    after = values[position.clamp_(max=len(values) - 1)].to(exact)
    # Sample centres are half a pixel in: row r of the image lies at (r + 1/2) * low_height / height - 1/2.
    crossing = (threshold - before) / (after - before) + (low_row - 0.5)
    exact_row = crossing * (height / low_height) - 0.5
    # A pixel exactly on the threshold is background: off at that row already, on only after it.
    goes_on = after > threshold
    row = torch.where(goes_on, exact_row.floor() + 1, exact_row.ceil()).clamp_(0, height).long()

    at_top, at_foot = low_row == 0, low_row == low_height
    row = row.masked_fill_(at_top, 0).masked_fill_(at_foot, height)
    return Switches(mask, column, row, goes_on & ~at_foot)


def cut(logits: UpsampledLogits, threshold: float) -> Iterator[torch.Tensor]:
    """Make the masks ``upsampled logits > threshold`` in pixels: the plain way.

    Args:
        logits: of all masks.
        threshold: in logits.

    Yields:
        (some masks, height, width) bool at a time.
    """
    width = logits.columns.shape[2]
    for part in logits.columns.split(max(1, _PIXELS_AT_ONCE // (logits.height * width))):
        yield F.interpolate(part[:, None], (logits.height, width), mode="bilinear")[:, 0] > threshold


def areas(logits: UpsampledLogits, threshold: float) -> torch.Tensor:
    """Count the pixels of each of the masks ``upsampled logits > threshold``.

    Args:
        logits: of all masks.
        threshold: in logits.

    Returns:
        (masks,), int64.
    """
    total = logits.columns.new_zeros(len(logits.columns), dtype=torch.int64)
    switches = find_switches(logits, threshold)
    if switches is None:
        return torch.cat([total, *map(count_pixels, cut(logits, threshold))])[len(total) :]
    # The rows where columns go off less the rows where they go on.
    return total.index_add_(0, switches.mask, torch.where(switches.goes_on, -switches.row, switches.row))


def stability(logits: UpsampledLogits, threshold: float, offset: float) -> torch.Tensor:
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
