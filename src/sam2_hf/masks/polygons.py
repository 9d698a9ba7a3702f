"""Masks as polygons with holes: exact outlines of pixels, and simplified ones within a tolerance.

Outlines run along the edges of pixels, with the object on the right of the way: the pixel in row r and column c covers
c to c + 1 across and r to r + 1 down. Pixels that touch at a corner alone do not hang together, so no outline crosses
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .rle import rle_part, rle_to_box

#: Steps right, down, left, up, as (x, y).
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
_MAX_CHANGE = 0.012  # of an outline's area, that simplifying may add and take away
_LEAST_TOLERANCE = 0.05  # pixels; below it the exact outline is given


class Polygon(NamedTuple):
    """One connected part of a mask.

    `exterior` is (n, 2) float64 of (x, y) in pixels, clockwise as one looks at the image and not closed; `holes` are
    (m, 2) each, counter-clockwise.
    """

    exterior: np.ndarray
    holes: list[np.ndarray]

    @property
    def area(self) -> float:
        """Area in pixels, without the holes."""
        return ring_area(self.exterior) + sum(ring_area(hole) for hole in self.holes)


def mask_to_polygons(mask: Any, tolerance: float = 1.0) -> list[Polygon]:
    """Trace a mask.

    Args:
        mask: (height, width), bool.
        tolerance: how far a simplified outline may lie from the middles of the pixel edges that it follows, in pixels.
            Outlines of small and ragged parts are kept closer, so that a mask and its polygons have an IoU of 0.99 or
            more. 0 gives the exact outline of the pixels.

    Returns:
        One polygon for each connected part, the largest first; none for an empty mask.

    Raises:
        ValueError: the mask is not two-dimensional, or the tolerance is negative.
    """
    mask = np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask).astype(bool)
    if mask.ndim != 2:
        raise ValueError(f"mask must be (height, width), got shape {mask.shape}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or above, got {tolerance}")
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = rows[0], columns[0]
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    rings = _trace(part)
    parents = _parents(part, rings)
    shift = np.array([left, top], np.float64)
    simple = [_simplified(ring.astype(np.float64), tolerance) + shift for ring in rings]
    polygons = [
        Polygon(simple[index], [simple[hole] for hole, parent in enumerate(parents) if parent == index])
        for index, parent in enumerate(parents)
        if parent is None
    ]
    return sorted(polygons, key=lambda polygon: -polygon.area)


def rle_to_polygons(rle: Mapping[str, Any], tolerance: float = 1.0) -> list[Polygon]:
    """Trace a mask in run lengths; see `mask_to_polygons`. Only the box around it is decoded.

    Args:
        rle: compressed or not.
        tolerance: see `mask_to_polygons`.

    Raises:
        ValueError: the tolerance is negative.
    """
    left, top, right, bottom = rle_to_box(rle)
    shift = np.array([left, top], np.float64)
    return [
        Polygon(polygon.exterior + shift, [hole + shift for hole in polygon.holes])
        for polygon in mask_to_polygons(rle_part(rle, (left, top, right + 1, bottom + 1)), tolerance)
    ]


def ring_area(ring: np.ndarray) -> float:
    """Measure the area inside a ring (n, 2); negative if it runs counter-clockwise as one looks at the image."""
    x, y = ring[:, 0], ring[:, 1]
    return float(0.5 * (x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _trace(mask: np.ndarray) -> list[np.ndarray]:
    """All outlines as rings of pixel corners (n, 2) in (x, y), one a pixel edge; holes run the other direction."""
    width = mask.shape[1]
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    stride = width + 1
    starts = []  # by direction, the corners at which an edge in this direction starts
    for direction, neighbour in enumerate((padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])):
        row, column = np.nonzero(inside & ~neighbour)
        down, right = ((0, 0), (0, 1), (1, 1), (1, 0))[direction]
        starts.append(set(((row + down) * stride + column + right).tolist()))
    offsets = [x + y * stride for x, y in _STEPS]
    rings = []
    while starts[0]:
        corner, direction = min(starts[0]), 0
        ring = []
        while corner in starts[direction]:
            starts[direction].remove(corner)
            ring.append(corner)
            corner += offsets[direction]
            # Right first, so that pixels that touch at a corner are kept apart.
            direction = next(
                (turned for turn in (1, 0, 3) if corner in starts[turned := (direction + turn) % 4]), direction
            )
        corners = np.array(ring)
        rings.append(np.stack([corners % stride, corners // stride], axis=1))
    return rings


def _parents(mask: np.ndarray, rings: list[np.ndarray]) -> list[int | None]:
    """For each ring the exterior that it is a hole of; None for the exteriors themselves."""
    left_edges = {}  # of pixels whose left neighbour is outside: the ring that runs along that edge
    for index, ring in enumerate(rings):
        following = np.roll(ring, -1, axis=0)
        for (x, _), (_, y) in zip(
            ring[following[:, 1] < ring[:, 1]], following[following[:, 1] < ring[:, 1]], strict=True
        ):
            left_edges[y, x] = index
    is_hole = [ring_area(ring) < 0 for ring in rings]

    def surrounding(index: int) -> int:
        """The ring left of the pixel above a hole's topmost edge; it reaches higher up than the hole."""
        ring = rings[index]
        x, y = ring[np.lexsort((ring[:, 0], ring[:, 1]))[0]]
        row, column = y - 1, x
        gaps = np.flatnonzero(~mask[row, : column + 1])
        return left_edges[row, gaps[-1] + 1 if len(gaps) else 0]

    parents: list[int | None] = []
    for index in range(len(rings)):
        parent = index
        while is_hole[parent]:
            parent = surrounding(parent)
        parents.append(None if parent == index else parent)
    return parents


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """A ring of pixel corners with fewer points, through the middles of its edges."""
    area = abs(ring_area(ring))
    middles = (ring + np.roll(ring, -1, axis=0)) / 2
    cut_off = abs(abs(ring_area(middles)) - area)  # more corners point outward than inward
    while tolerance >= _LEAST_TOLERANCE:
        kept = _kept(middles, tolerance)
        if kept.sum() > 2 and cut_off + _changed_area(middles, kept) <= _MAX_CHANGE * area:
            return middles[kept]
        tolerance /= 2
    steps = np.roll(ring, -1, axis=0) - ring
    return ring[(steps != np.roll(steps, 1, axis=0)).any(1)]  # the corners at which it turns


def _changed_area(ring: np.ndarray, kept: np.ndarray) -> float:
    """The area between a ring and the one through its kept points, on either side."""
    first = int(kept.argmax())
    ring, kept = np.roll(ring, -first, axis=0), np.roll(kept, -first)
    corners = np.flatnonzero(kept)
    starts = ring[corners]
    chords = np.roll(starts, -1, axis=0) - starts
    lengths = np.maximum(np.hypot(chords[:, 0], chords[:, 1]), 1e-12)
    chord_of = np.cumsum(kept) - 1  # of each point, and of the step from it to the next
    unit = chords[chord_of] / lengths[chord_of, None]
    offset = ring - starts[chord_of]
    after = np.roll(ring, -1, axis=0) - starts[chord_of]
    before_side = unit[:, 0] * offset[:, 1] - unit[:, 1] * offset[:, 0]
    after_side = unit[:, 0] * after[:, 1] - unit[:, 1] * after[:, 0]
    advance = np.abs(((after - offset) * unit).sum(1))
    return float((advance * np.abs(before_side + after_side) / 2).sum())


def _kept(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Which points the algorithm of Douglas and Peucker keeps of a closed ring, bool (n,)."""
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far, -1]] = True
    spans = [(0, far), (far, len(ring))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        between, start = closed[first + 1 : last], closed[first]
        chord = closed[last] - start
        length = float(np.hypot(*chord))
        offset = between - start
        if length > 0:
            along = np.clip(offset @ chord / length**2, 0, 1)
            offset = offset - along[:, None] * chord
        distance = np.hypot(offset[:, 0], offset[:, 1])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return kept[:-1]
