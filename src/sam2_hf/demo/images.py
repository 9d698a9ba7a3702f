"""Images: everything in one, and the objects that are clicked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from ..predictors.segmenter import Segmenter
from ..results.image_result import ImageResult

Point = tuple[int, int]
Row = tuple[int, float, int, tuple[int, int, int, int] | None]


class Timed(NamedTuple):
    """A result, and the seconds that it took to compute it."""

    result: ImageResult
    seconds: float

    def rows(self) -> list[Row]:
        """Number, predicted IoU, area in pixels and box (left, top, right, bottom) of each mask; None for no box."""
        rows: list[Row] = []
        for number, item in enumerate(self.result, start=1):
            x0, y0, x1, y1 = item.box
            box = (x0, y0, x1 - 1, y1 - 1) if item.area else None
            rows.append((number, item.score or 0.0, item.area, box))
        return rows


def segment_everything(segmenter: Segmenter, image: Image.Image, points_per_side: int) -> Timed:
    """Segment everything with a grid of clicks. The masks are in descending order of predicted IoU."""
    return _timed(lambda: segmenter.segment_everything(image, points_per_crop=points_per_side))


def segment_clicks(segmenter: Segmenter, image: Image.Image, points: Sequence[Point]) -> Timed:
    """Segment an object for each click (x, y) in pixels, with the best of the three candidate masks."""
    return _timed(lambda: segmenter.segment(image, points=[[point] for point in points]))


def _timed(compute: Callable[[], ImageResult]) -> Timed:
    start = time.perf_counter()
    result = compute()
    assert result.objects is not None  # masks are computed when they are first asked for
    return Timed(result, time.perf_counter() - start)
