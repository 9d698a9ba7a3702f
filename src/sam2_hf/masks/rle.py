"""Run-length encoding of binary masks, as COCO writes it, without a loop over pixels.

A mask of height H and width W is read column by column; ``counts`` holds the lengths of its runs, background
first (so the first count is 0 when the top left pixel is set). The format is that of the COCO API
(https://github.com/cocodataset/cocoapi): ``{"size": [H, W], "counts": [...]}``, or with ``counts`` as a string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array, cast, to_numpy
from .array_ops import find_set, pad_last, sort_ascending

if TYPE_CHECKING:
    import torch

Rle = dict[str, Any]

_BITS_PER_CHAR = 5
_FIRST_CHAR = 48
_CONTINUES = 1 << _BITS_PER_CHAR
_MAX_CHARS = 8  # 40 bits: more than any image has pixels


def mask_to_rle(masks: Array, size: tuple[int, int] | None = None, offset: tuple[int, int] = (0, 0)) -> list[Rle]:
    """Encode masks as uncompressed COCO RLE.

    Args:
        masks: (masks, height, width), bool, an array or a tensor on any device.
        size: (height, width) of the image that the masks are a part of; the masks' own by default.
        offset: (top, left) of the masks in that image, in pixels. The rest of the image is background.

    Returns:
        One ``{"size": [height, width], "counts": [...]}`` a mask.

    Raises:
        ValueError: when `masks` is not three-dimensional, or does not lie inside the image.
    """
    return [
        {"size": list(size or masks.shape[-2:]), "counts": counts.tolist()}
        for counts in mask_run_lengths(masks, size, offset)
    ]


def mask_run_lengths(
    masks: Array, size: tuple[int, int] | None = None, offset: tuple[int, int] = (0, 0)
) -> list[np.ndarray]:
    """Compute the ``counts`` of `mask_to_rle` as arrays, which take a tenth of the memory of a list of ints.

    Only run boundaries leave the device of the masks, in one copy.

    Args:
        masks: see `mask_to_rle`.
        size: see there.
        offset: see there.

    Returns:
        The counts of each mask, of `counts_dtype`, on the CPU.

    Raises:
        ValueError: see there.
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be (masks, height, width), got shape {tuple(masks.shape)}")
    (top, left), (height, width) = offset, size or masks.shape[-2:]
    if min(top, left) < 0 or top + masks.shape[1] > height or left + masks.shape[2] > width:
        raise ValueError(
            f"masks of {tuple(masks.shape[1:])} at offset {(top, left)} do not fit in an image of {(height, width)}"
        )
    # Columns are taken one by one: a run that flows over a column's end is switched off at its foot and on at the
    # next one's head, which is the same pixel.
    padded = pad_last(cast(masks, "bool"), rows=1)
    switches = padded[:, 1:] != padded[:, :-1]
    rows, columns = switches.shape[1:]
    found = find_set(switches)
    line, column = found // max(columns, 1), found % max(columns, 1)
    position = (column + left) * height + line % rows + top
    return run_lengths(line // rows, position, len(masks), (height, width))


def run_lengths(mask: Array, position: Array, masks: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Compute run lengths from the positions where masks switch between background and foreground.

    Args:
        mask: (switches,), which mask switches, in any order.
        position: (switches,), at which column-major pixel index, up to the number of pixels. Two switches of a mask at
            one position cancel.
        masks: how many masks there are.
        size: (height, width) of the masks.

    Returns:
        The counts of each mask, of `counts_dtype`, on the CPU.
    """
    pixels = size[0] * size[1]
    stride = pixels + 1
    keys = to_numpy(sort_ascending(mask * stride + position))
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    keys = keys[first[np.diff(first, append=len(keys)) % 2 == 1]]
    keys = keys[keys % stride < pixels]
    bounds = np.searchsorted(keys, np.arange(masks + 1) * stride)
    return [
        np.diff(keys[begin:end] - index * stride, prepend=0, append=pixels).astype(counts_dtype(pixels))
        for index, (begin, end) in enumerate(pairwise(bounds))
    ]


def counts_dtype(pixels: int) -> type[np.signedinteger[Any]]:
    """Choose the type of run lengths by the number of an image's pixels: int32, or int64 where a run may be longer."""
    return np.int32 if pixels < 2**31 else np.int64


def rle_to_mask(rle: Mapping[str, Any]) -> torch.Tensor:
    """Decode one RLE, compressed or not, to a (height, width) bool tensor on the CPU.

    Raises:
        ValueError: when the counts do not add up to the size.
    """
    import torch

    return torch.from_numpy(rle_to_array(rle))


def rle_to_array(rle: Mapping[str, Any]) -> np.ndarray:
    """Decode one RLE, compressed or not, to a (height, width) bool array.

    Raises:
        ValueError: when the counts do not add up to the size.
    """
    height, width = rle["size"]
    counts = _counts(rle)
    if counts.sum() != height * width or (counts < 0).any():
        raise ValueError(f"rle counts must be non-negative and add up to {height}x{width} pixels")
    is_set = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(is_set, counts).reshape(width, height).T)


def rle_part(rle: Mapping[str, Any], box: tuple[int, int, int, int]) -> np.ndarray:
    """Decode a part of an RLE, compressed or not, without decoding the rest.

    Args:
        rle: of an image.
        box: left, top, right, bottom (exclusive) within the image.

    Returns:
        (bottom - top, right - left), bool.
    """
    height = rle["size"][0]
    left, top, right, bottom = box
    ends = np.cumsum(_counts(rle), dtype=np.int64).clip(left * height, right * height)
    is_set = np.arange(len(ends)) % 2 == 1
    columns = np.repeat(is_set, np.diff(ends, prepend=left * height)).reshape(right - left, height)
    return np.ascontiguousarray(columns[:, top:bottom].T)


def rle_scaled(rle: Mapping[str, Any], size: tuple[int, int]) -> Rle:
    """Sample an RLE at another size, at the middles of its pixels: to look at a mask whose image is too large.

    Args:
        rle: of an image, compressed or not.
        size: (height, width) in pixels, at most those of the image.

    Returns:
        The RLE of that size.
    """
    height, width = rle["size"]
    left, top, right, bottom = rle_to_box(rle)
    rows, columns = (
        (np.arange(count) * 2 + 1) * length // (2 * count) for count, length in zip(size, (height, width), strict=True)
    )
    first_row, last_row = np.searchsorted(rows, (top, bottom + 1))
    first_column, last_column = np.searchsorted(columns, (left, right + 1))
    ends = np.cumsum(_counts(rle), dtype=np.int64)
    positions = columns[first_column:last_column] * height + rows[first_row:last_row, None]
    part = np.searchsorted(ends, positions, side="right") % 2 == 1
    (counts,) = mask_run_lengths(part[None], size, (int(first_row), int(first_column)))
    return {"size": list(size), "counts": counts}


def rle_area(rle: Mapping[str, Any]) -> int:
    """Count the pixels that are set."""
    return int(_counts(rle)[1::2].sum())


def rle_to_box(rle: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Find the box (left, top, right, bottom) of the mask, inclusive pixel indices; zeros for an empty mask."""
    height = rle["size"][0]
    ends = np.cumsum(_counts(rle), dtype=np.int64)
    starts, stops = ends[:-1:2], ends[1::2]
    starts = starts[: len(stops)]
    starts, stops = starts[stops > starts], stops[stops > starts]
    if not len(starts):
        return 0, 0, 0, 0
    column, row = np.divmod(starts, height)
    last_column, last_row = np.divmod(stops - 1, height)
    spills = bool((column != last_column).any())  # a run over a column's end touches top and bottom
    top, bottom = (0, height - 1) if spills else (int(row.min()), int(last_row.max()))
    return int(column[0]), top, int(last_column[-1]), bottom


def compress_rle(rle: Mapping[str, Any]) -> Rle:
    """Write the counts as a string, as pycocotools does (there as bytes; here JSON can hold it)."""
    return {"size": list(rle["size"]), "counts": encode_counts(_counts(rle))}


def decompress_rle(rle: Mapping[str, Any]) -> Rle:
    """Write the counts as a list of ints, whichever way they were."""
    return {"size": list(rle["size"]), "counts": _counts(rle).tolist()}


def _counts(rle: Mapping[str, Any]) -> np.ndarray:
    counts = rle["counts"]
    return decode_counts(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts, dtype=np.int64)


def encode_counts(counts: Sequence[int] | np.ndarray) -> str:
    """Write run lengths as a COCO string.

    From the fourth on, a count is written as its difference to the one before the last; each number in groups of
    five bits, lowest first, as one character from "0" on, with a sixth bit set when more follow. The highest bit
    of the last group is the sign.
    """
    numbers = np.array(counts, dtype=np.int64)
    numbers[3:] -= np.asarray(counts, dtype=np.int64)[1:-2]
    groups = numbers[:, None] >> (_BITS_PER_CHAR * np.arange(_MAX_CHARS))
    # A group is the last one when what is left after it is nothing but its own sign.
    half = _CONTINUES // 2
    is_last = (groups >= -half) & (groups < half)
    written: np.ndarray = np.cumsum(is_last, axis=1) - is_last == 0
    chars = (groups & (_CONTINUES - 1)) + np.where(is_last, 0, _CONTINUES) + _FIRST_CHAR
    return chars[written].astype(np.uint8).tobytes().decode("ascii")


def decode_counts(text: str | bytes) -> np.ndarray:
    """Read run lengths from a COCO string, the reverse of `encode_counts`.

    Raises:
        ValueError: when the string has characters that the encoding does not use, or stops inside a number.
    """
    data = text.encode() if isinstance(text, str) else bytes(text)
    chars = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - _FIRST_CHAR
    if not len(chars):
        return np.zeros(0, dtype=np.int64)
    if chars.min() < 0 or chars.max() >= 2 * _CONTINUES or chars[-1] & _CONTINUES:
        raise ValueError(f"not a COCO run-length string: {text[:40]!r}")
    is_last = (chars & _CONTINUES) == 0
    first = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    position = np.arange(len(chars)) - np.repeat(first, np.diff(first, append=len(chars)))
    numbers = np.add.reduceat((chars & (_CONTINUES - 1)) << (_BITS_PER_CHAR * position), first)
    negative = (chars[is_last] & (_CONTINUES // 2)) != 0
    numbers -= negative * (1 << (_BITS_PER_CHAR * (position[is_last] + 1)))
    for chain in (numbers[1::2], numbers[2::2]):  # views: each count was written as a step from the one before
        np.cumsum(chain, out=chain)
    return numbers
