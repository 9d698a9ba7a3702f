"""Tables of objects as CSV: a row for each object in each image or frame."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .image_result import ImageResult


COLUMNS = ("frame", "id", "x0", "y0", "x1", "y1", "area", "score", "object_score", "visible")


def table_rows(results: Iterable[ImageResult]) -> Iterator[dict[str, Any]]:
    """Describe each object of each image or frame.

    Returns:
        Dictionaries with the columns `frame` (empty for an image), `id`, the box `x0`, `y0`, `x1`, `y1` in pixels, of
        which x1 and y1 lie beyond the mask, `area` in pixels, `score` (predicted IoU), `object_score` (a logit) and
        `visible` (0 or 1).
    """
    for result in results:
        for item in result.objects:
            values = ("" if result.frame is None else result.frame, item.name, *item.box, item.area)
            scores = ("" if score is None else round(score, 4) for score in (item.score, item.object_score))
            yield dict(zip(COLUMNS, (*values, *scores, int(item.visible)), strict=True))


def write_csv(path: str | os.PathLike[str], results: Iterable[ImageResult]) -> None:
    """Write the rows of `table_rows` to a file, one at a time."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table_rows(results))
