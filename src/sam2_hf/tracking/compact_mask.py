"""Mask logits of a passed frame in a few kilobytes, from which the same mask comes at any size.

Bilinear resizing mixes the four logits around a position. Where all four have the same sign, the mask does not depend
on their values. So the sign of every logit is kept, and its value only beside one of the other sign. Elsewhere the mean
of the logits of that sign stands for all.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

# Height, width, the mean of the values dropped below and above 0, and the length of the compressed signs.
_HEADER = struct.Struct("<HHffI")
_FASTEST = 1


def pack_logits(logits: NDArray[np.float32]) -> bytes:
    """Pack logits.

    Args:
        logits: (h, w) float32.

    Returns:
        The signs, compressed, and the exact values on both sides of the mask's edge.
    """
    positive = logits > 0
    edge = _edge(positive)
    means = [_mean(logits[kind & ~edge]) for kind in (~positive, positive)]
    signs = zlib.compress(np.packbits(positive).tobytes(), _FASTEST)
    return _HEADER.pack(*logits.shape, *means, len(signs)) + signs + logits[edge].astype("<f4").tobytes()


def unpack_logits(packed: bytes) -> NDArray[np.float32]:
    """Unpack what `pack_logits` gave: (h, w) float32, exact beside the mask's edge, the mean of their sign elsewhere.

    Raises:
        ValueError: for bytes that are damaged.
    """
    try:
        height, width, below, above, length = _HEADER.unpack_from(packed)
        # A damaged file must not ask for more than the mask takes.
        most = (height * width + 7) // 8
        signs = zlib.decompressobj().decompress(packed[_HEADER.size : _HEADER.size + length], most)
        bits = np.unpackbits(np.frombuffer(signs, np.uint8), count=height * width)
        positive = bits.reshape(height, width).astype(bool)
        logits = np.where(positive, np.float32(above), np.float32(below))
        logits[_edge(positive)] = np.frombuffer(packed, "<f4", offset=_HEADER.size + length)
    except (struct.error, zlib.error, ValueError) as error:
        raise ValueError(f"a packed mask is damaged: {error}") from error
    return logits


def _edge(positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a logit is one of four neighbours, two by two, whose signs differ."""
    corners = [positive[rows, columns] for rows in _SHIFTS for columns in _SHIFTS]
    mixed = np.logical_or.reduce(corners) & ~np.logical_and.reduce(corners)
    edge = np.zeros_like(positive)
    for rows in _SHIFTS:
        for columns in _SHIFTS:
            edge[rows, columns] |= mixed
    return edge


_SHIFTS = (slice(None, -1), slice(1, None))


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else 0.0
