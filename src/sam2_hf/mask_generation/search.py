"""What is done with the masks that a model finds, whatever computes them: filtered, compressed, joined.

A model is asked by a function that takes points and gives candidates; `generator.py` has that of models in torch.
Arrays are those of NumPy or tensors, except for what is kept of an image, which is small and NumPy's.

Axes: P prompts, K masks, (h, w) the size of low-resolution masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..arrays import Array, cast, to_numpy
from ..masks.connected_components import clean_logits
from ..sizes import Size
from .crops import Crop, crop_layers
from .mask_table import MaskTable
from .settings import MaskGenerationSettings
from .tiles import join_levels, tile_levels
from .upsampled_masks import UpsampledLogits, encode, stability, upsample

_VALUES_AT_ONCE = 2**23  # logits of which the width is upsampled together; crops of large images are wide


class Candidates(NamedTuple):
    """Masks that a model gives for points.

    Attributes:
        logits: (K, h, w).
        scores: (K,), predicted IoU.
        prompt: (K,) int64, which point each is from.
    """

    logits: Array
    scores: Array
    prompt: Array


FindCandidates = Callable[[np.ndarray], Iterable[Candidates]]
"""Takes points (P, 2) float32 as (x, y) between 0 and 1 in the crop, and gives masks that pass the IoU filter, a few at
a time."""


def search_crop(
    find: FindCandidates,
    at_once: int,
    crop: Crop,
    image_size: Size,
    settings: MaskGenerationSettings,
    asked: Callable[[int], object],
) -> MaskTable:
    """Search one crop of an image with its layer's grid of points.

    Args:
        find: asks the model.
        at_once: for how many points, at most; `settings.points_per_batch` may say fewer.
        crop: the part of the image.
        image_size: (height, width).
        settings: see there.
        asked: is told for how many points the model has been asked, as it goes.

    Returns:
        The masks that pass all filters, in the order of the points; duplicates among them, unless
        `settings.box_nms_thresh` is set. In tiles, masks that are cut off as well.
    """
    grid = _grid(crop, settings)
    at_once = min(at_once, settings.points_per_batch or at_once)
    found = [MaskTable.none(image_size)]
    for start in range(0, len(grid), at_once):
        points = grid[start : start + at_once]
        for candidates in find(points):
            few = _few_at_a_time(candidates, crop.size)
            found += [_compress(some, points, crop, image_size, settings) for some in few]
        asked(len(points))
    table = found[0].cat(found[1:])
    if settings.box_nms_thresh is None:
        return table
    return table.without_duplicates(settings.box_nms_thresh, by=settings.nms)


def layout(size: Size, settings: MaskGenerationSettings) -> list[Crop]:
    """The parts of an image of (height, width) that are searched."""
    if settings.tile_size is not None:
        return tile_levels(size, settings)
    return crop_layers(size, settings.crops_n_layers, settings.crop_overlap_ratio)


def count_points(parts: Iterable[Crop], settings: MaskGenerationSettings) -> int:
    """For how many points the model is asked in all parts."""
    return sum(len(_grid(part, settings)) for part in parts)


def join_parts(found: list[MaskTable], parts: Sequence[Crop], settings: MaskGenerationSettings) -> MaskTable:
    """The masks of an image from those of its parts, which are those of `layout`, without duplicates."""
    return join_crops(found, settings) if settings.tile_size is None else join_levels(found, parts, settings)


def join_crops(found: list[MaskTable], settings: MaskGenerationSettings) -> MaskTable:
    """The masks of an image from those of its crops, without duplicates."""
    table = found[0].cat(found[1:])
    if settings.box_nms_thresh is None:
        table = table.without_duplicates(settings.crops_nms_thresh, by=settings.nms)
    elif len(found) > 1:
        # Of masks that are the best of their crops, those of smaller crops saw more detail.
        table = table.without_duplicates(settings.crops_nms_thresh, 1 / table.crop_areas(), settings.nms)
    if settings.min_mask_region_area > 0:
        threshold = max(settings.box_nms_thresh or 0, settings.crops_nms_thresh)
        table = table.without_small_regions(settings.min_mask_region_area, threshold, settings.nms)
    return table


def passes(scores: Array, threshold: float) -> Array:
    """Which scores (...) are above a threshold: bool; all of them where it is 0 or below."""
    above = cast(scores, "float32") > threshold
    return above if threshold > 0 else above | True


def _grid(crop: Crop, settings: MaskGenerationSettings) -> np.ndarray:
    return settings.grid(crop.layer if settings.tile_size is None else 0)  # of tiles, the layer is their level


def _few_at_a_time(candidates: Candidates, size: Size) -> Iterator[Candidates]:
    """The candidates of a crop of `size`, as many at once as bounds the memory of their upsampling."""
    at_once = max(1, _VALUES_AT_ONCE // (candidates.logits.shape[-2] * size[1]))
    for start in range(0, len(candidates.logits), at_once):
        yield Candidates(*(values[start : start + at_once] for values in candidates))


def _compress(
    candidates: Candidates, points: np.ndarray, crop: Crop, image_size: Size, settings: MaskGenerationSettings
) -> MaskTable:
    """The candidates that pass the other filters, as masks of the image. `points` (P, 2) are those of the grid."""
    threshold, area = settings.mask_threshold, settings.low_res_region_area
    logits = candidates.logits
    if area > 0:
        logits = clean_logits(cast(logits, "float32"), area, area, threshold)
    upsampled = upsample(logits, crop.size)
    stable = stability(upsampled, threshold, settings.stability_score_offset)
    kept = passes(stable, settings.stability_score_thresh)
    masks = encode(
        UpsampledLogits(upsampled.columns[kept], upsampled.height), threshold, image_size, (crop.top, crop.left)
    )
    height, width = crop.size
    clicks = points[to_numpy(candidates.prompt[kept])] * np.array([width, height], np.float32)
    table = MaskTable(
        image_size,
        masks,
        scores=to_numpy(cast(candidates.scores[kept], "float32")),
        stability=to_numpy(stable[kept]),
        points=clicks + np.array([crop.left, crop.top], np.float32),
        crops=np.tile(np.array(crop[:4], np.int64), (len(masks), 1)),
    )
    table = table.cleaned(settings.max_hole_area or 0, settings.max_sprinkle_area or 0)
    table = table.without_empty()
    return table if settings.tile_size is not None else table.without_cut_off()  # tiles are joined at their seams
