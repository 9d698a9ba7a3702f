"""Images larger than the model's input, searched tile by tile: where tiles lie, and how masks are joined across seams.

Tiles lie in levels: those of the finest have the image's own pixels, those of each further one cover twice as much
along a side, at half the resolution, until one tile holds the image. So an object that is cut at one level is found
whole at another, and small objects are found where they are seen best.

Within a level, neighbouring tiles overlap. An object that lies across a seam is found in both, cut off at the end of
each. In the overlap both saw it: where their masks agree there, they are parts of one object, and are joined along the
middle of the overlap, since masks are less exact near the end of a tile. All is counted on run lengths, so memory grows
with what is found and not with the pixels of the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..masks.boxes import is_near_crop_edge
from ..masks.rle_overlap import RunIntervals, intersect_run_lengths, join_run_lengths, rectangle_run_lengths
from .crops import Crop
from .mask_table import MaskTable
from .settings import MaskGenerationSettings

_NEAR = 20  # pixels of a tile as the model sees it, within which a mask is taken to be cut off at the tile's end
_AGREEMENT = 0.5  # the IoU within the overlap of two tiles, from which two masks are of one object


def tile_layout(size: tuple[int, int], tile_size: int, overlap: int) -> list[Crop]:
    """Lay tiles over an image, as few as cover it with at least the overlap.

    Args:
        size: (height, width) of the image, in pixels.
        tile_size: side of a tile; an image that is smaller along a side has one tile there.
        overlap: how much neighbours share at least, less than `tile_size`.

    Returns:
        Tiles row by row.
    """
    height, width = size
    return [
        Crop(left, top, min(left + tile_size, width), min(top + tile_size, height), 0)
        for top in _starts(height, tile_size, overlap)
        for left in _starts(width, tile_size, overlap)
    ]


def tile_levels(size: tuple[int, int], settings: MaskGenerationSettings) -> list[Crop]:
    """Lay levels of tiles over an image, until one tile holds the image or there are enough.

    Args:
        size: (height, width) of the image, in pixels.
        settings: with `tile_size`.

    Returns:
        The tiles level by level, the finest first; their `layer` is the level's number.
    """
    tiles: list[Crop] = []
    tile_size, overlap, level = settings.tile_size or max(size), settings.tile_overlap, 0
    while True:
        found = tile_layout(size, tile_size, overlap)
        tiles += [tile._replace(layer=level) for tile in found]
        level += 1
        if len(found) == 1 or level == settings.tile_levels:
            return tiles
        tile_size, overlap = 2 * tile_size, 2 * overlap


def join_levels(found: Sequence[MaskTable], tiles: Sequence[Crop], settings: MaskGenerationSettings) -> MaskTable:
    """Join the masks of an image from those of the tiles of all levels.

    Args:
        found: the masks of each tile, those that are cut off included.
        tiles: of `tile_levels`, in the same order.
        settings: how duplicates are told.

    Returns:
        The masks of the image, best first. Of masks of one object that several levels found, that of the finest level
        stays which saw it in one tile; where none did, the joined one of the finest.
    """
    levels = [[index for index, tile in enumerate(tiles) if tile.layer == level] for level in range(_depth(tiles))]
    tables, ranks = [], []
    for number, members in enumerate(levels):
        joined = join_tiles([found[index] for index in members], [tiles[index] for index in members], settings)
        tables.append(joined)
        # By steps of 2, so that scores of up to 1 order the masks of one rank.
        ranks.append(2.0 * (len(levels) * joined.lies_within_crops() - number) + joined.scores)
    table = tables[0].cat(tables[1:])
    if len(levels) > 1:
        kept = table.without_duplicates(settings.crops_nms_thresh, np.concatenate(ranks), settings.nms)
        table = kept.select(np.argsort(-kept.scores, kind="stable"))
    if settings.min_mask_region_area > 0:
        table = table.without_small_regions(settings.min_mask_region_area, settings.crops_nms_thresh, settings.nms)
    return table


def _depth(tiles: Sequence[Crop]) -> int:
    return 1 + max(tile.layer for tile in tiles)


def _starts(length: int, tile_size: int, overlap: int) -> list[int]:
    """Where tiles begin along a side, evenly spread."""
    if length <= tile_size:
        return [0]
    count = math.ceil((length - overlap) / (tile_size - overlap))
    return [round(index * (length - tile_size) / (count - 1)) for index in range(count)]


def join_tiles(found: Sequence[MaskTable], tiles: Sequence[Crop], settings: MaskGenerationSettings) -> MaskTable:
    """Join the masks of an image from those of the tiles of one level.

    Args:
        found: the masks of each tile, those that are cut off included.
        tiles: of one level, in the same order.
        settings: how duplicates are told.

    Returns:
        The masks of the image. What is cut off at the end of its tile and has no counterpart in the neighbour is left
        out. Of joined masks, scores are averages by area, and the point and the crop are those of the largest part.
    """
    threshold = settings.crops_nms_thresh if settings.box_nms_thresh is None else settings.box_nms_thresh
    tables = [table.without_duplicates(threshold, by=settings.nms) for table in found]
    table = tables[0].cat(tables[1:])
    first = np.cumsum([0, *map(len, tables)])
    members = [range(first[index], first[index + 1]) for index in range(len(tables))]
    intervals, boxes = RunIntervals(table.run_lengths), table.boxes()
    roots, zones = list(range(len(table))), table.crops.tolist()
    for one, other in _neighbours(tiles):
        seam = _intersection(tiles[one], tiles[other])
        for a, b in _counterparts(intervals, boxes, members[one], members[other], seam, table.size):
            roots[_root(roots, b)] = _root(roots, a)
            _divide(zones[a], zones[b], seam, is_beside=tiles[one].top == tiles[other].top)
    groups: dict[int, list[int]] = {}
    for index in range(len(table)):
        groups.setdefault(_root(roots, index), []).append(index)
    cut_off = is_near_crop_edge(table.boxes(), table.crops, table.size, _NEAR * 2 ** tiles[0].layer).tolist()
    kept = [group for group in groups.values() if len(group) > 1 or not cut_off[group[0]]]
    joined = _joined(table, kept, intervals.areas, zones)
    return joined.without_duplicates(settings.crops_nms_thresh, by=settings.nms)


def _neighbours(tiles: Sequence[Crop]) -> Iterator[tuple[int, int]]:
    """Pairs of tiles that lie side by side or one below the other."""
    columns, rows = sorted({tile.left for tile in tiles}), sorted({tile.top for tile in tiles})
    index = {(rows.index(tile.top), columns.index(tile.left)): number for number, tile in enumerate(tiles)}
    for (row, column), number in index.items():
        for beside in ((row, column + 1), (row + 1, column)):
            if beside in index:
                yield number, index[beside]


def _intersection(one: Crop, other: Crop) -> tuple[int, int, int, int]:
    """(left, top, right, bottom), right and bottom exclusive."""
    left, top = max(one.left, other.left), max(one.top, other.top)
    return left, top, min(one.right, other.right), min(one.bottom, other.bottom)


def _divide(one: list[int], other: list[int], seam: tuple[int, int, int, int], is_beside: bool) -> None:
    """Let two parts of an object end at the middle of what their tiles share; `other` is to the right or below."""
    axis = 0 if is_beside else 1
    middle = (seam[axis] + seam[axis + 2]) // 2
    one[axis + 2] = min(one[axis + 2], middle)
    other[axis] = max(other[axis], middle)


def _counterparts(
    intervals: RunIntervals,
    boxes: np.ndarray,
    ones: range,
    others: range,
    seam: tuple[int, int, int, int],
    size: tuple[int, int],
) -> list[tuple[int, int]]:
    """Pairs of masks of two tiles that agree in what the tiles share: each the best for the other."""
    left, top, right, bottom = seam
    reach = (boxes[:, 0] < right) & (boxes[:, 2] >= left) & (boxes[:, 1] < bottom) & (boxes[:, 3] >= top)
    mine, theirs = ([index for index in indices if reach[index]] for indices in (ones, others))
    if right <= left or bottom <= top or not mine or not theirs:
        return []
    shared = np.stack([intervals.intersections(index, theirs) for index in mine])
    rectangle = rectangle_run_lengths(seam, size)
    inside_mine, inside_theirs = (
        intervals.intersections_with(rectangle, mine),
        intervals.intersections_with(rectangle, theirs),
    )
    union = inside_mine[:, None] + inside_theirs[None] - shared
    agreement = shared / np.maximum(union, 1)
    best_of_mine, best_of_theirs = agreement.argmax(1), agreement.argmax(0)
    return [
        (mine[row], theirs[column])
        for row, column in enumerate(best_of_mine)
        if best_of_theirs[column] == row and agreement[row, column] >= _AGREEMENT
    ]


def _root(roots: list[int], index: int) -> int:
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = roots[index]
    return index


def _joined(
    table: MaskTable, groups: Sequence[Sequence[int]], areas: np.ndarray, zones: Sequence[Sequence[int]]
) -> MaskTable:
    """One mask for each group of parts, each part within its zone."""

    def part(index: int) -> np.ndarray:
        left, top, right, bottom = zones[index]
        rectangle = rectangle_run_lengths((left, top, right, bottom), table.size)
        return intersect_run_lengths(table.run_lengths[index], rectangle)

    largest = [max(group, key=lambda index: areas[index]) for group in groups]

    def averaged(values: np.ndarray) -> np.ndarray:
        means = [
            values[group[0]] if len(group) == 1 else _mean(values[list(group)], areas[list(group)]) for group in groups
        ]
        return np.array(means, values.dtype)

    chosen = table.select(np.array(largest, np.int64))
    run_lengths = [
        table.run_lengths[group[0]] if len(group) == 1 else join_run_lengths([part(index) for index in group])
        for group in groups
    ]
    return MaskTable(
        table.size, run_lengths, averaged(table.scores), averaged(table.stability), chosen.points, chosen.crops
    )


def _mean(values: np.ndarray, areas: np.ndarray) -> float:
    return float((values * areas).sum() / areas.sum())
