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


def write_parquet(path: str | os.PathLike[str], results: Iterable[ImageResult]) -> None:
    """Write the rows of `table_rows` as Parquet, with the run lengths of each mask in a column `rle` (COCO's string),
    and the size in `height` and `width`. A row group for each image or frame.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-not-found, unused-ignore]
        from pyarrow import parquet  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow; install it with: pip install pyarrow") from error
    whole, real, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
    kinds = {"id": text, "score": real, "object_score": real, "visible": pyarrow.bool_(), "rle": text}
    names = (*COLUMNS, "height", "width", "rle")
    schema = pyarrow.schema([(name, kinds.get(name, whole)) for name in names])
    with parquet.ParquetWriter(path, schema) as writer:
        for result in results:
            rows = []
            for row, item in zip(table_rows([result]), result.objects, strict=True):
                known = {name: None if value == "" else value for name, value in row.items()}
                height, width = result.size
                masks = {"height": height, "width": width, "rle": item.compressed_rle()["counts"]}
                rows.append({**known, "id": str(item.name), "visible": item.visible, **masks})
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
