"""Tables of objects as CSV and Parquet: a row for each object in each image or frame."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from typing import Any

from .records import ImageRecord

COLUMNS = ("frame", "id", "x0", "y0", "x1", "y1", "area", "score", "object_score", "visible")
_ROWS_A_GROUP = 1024


def table_rows(records: Iterable[ImageRecord]) -> Iterator[dict[str, Any]]:
    """Describe each object of each image or frame.

    Returns:
        Dictionaries with the columns `frame` (empty for an image), `id`, the box `x0`, `y0`, `x1`, `y1` in pixels, of
        which x1 and y1 lie beyond the mask, `area` in pixels, `score` (predicted IoU), `object_score` (a logit) and
        `visible` (0 or 1).
    """
    for record in records:
        for item in record.objects:
            values = ("" if record.frame is None else record.frame, item.name, *item.box, item.area)
            scores = ("" if score is None else round(score, 4) for score in (item.score, item.object_score))
            yield dict(zip(COLUMNS, (*values, *scores, int(item.visible)), strict=True))


class CsvWriter:
    """Writes the rows of `table_rows` while images or frames pass; each is in the file when it is written.

    Args:
        path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115  # until `close`
        self._writer = csv.DictWriter(self._file, COLUMNS)
        self._writer.writeheader()
        self._file.flush()

    def write(self, record: ImageRecord) -> None:
        """Write an image or frame."""
        self._writer.writerows(table_rows([record]))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetWriter:
    """Writes the rows of `table_rows` as Parquet while images or frames pass, in constant memory.

    Beside the columns of the table, `rle` has the run lengths of each mask (COCO's string), `height` and `width` its
    size, and `file_name` the image. Parquet has its index at the end: the file can be read once it is closed.

    Args:
        path: the file.

    Raises:
        ImportError: pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]):
        try:
            import pyarrow  # type: ignore[import-not-found, unused-ignore]
            from pyarrow import parquet  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise ImportError("Parquet needs pyarrow; install it with: pip install pyarrow") from error
        whole, real, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
        kinds = {"id": text, "score": real, "object_score": real, "visible": pyarrow.bool_()}
        kinds |= {"rle": text, "file_name": text}
        names = (*COLUMNS, "height", "width", "rle", "file_name")
        self._schema = pyarrow.schema([(name, kinds.get(name, whole)) for name in names])
        self._table_of = pyarrow.Table.from_pylist
        self._rows: list[dict[str, Any]] = []
        self._writer = parquet.ParquetWriter(os.fspath(path), self._schema)

    def write(self, record: ImageRecord) -> None:
        """Write an image or frame; some rows wait until a group of them is full."""
        height, width = record.size
        for row, item in zip(table_rows([record]), record.objects, strict=True):
            known = {name: None if value == "" else value for name, value in row.items()}
            masks = {"height": height, "width": width, "rle": item.compressed_rle()["counts"]}
            named = {"id": str(item.name), "visible": item.visible, "file_name": record.file_name}
            self._rows.append({**known, **named, **masks})
        if len(self._rows) >= _ROWS_A_GROUP:
            self._write_out()

    def close(self) -> None:
        """Write what waits and the index, and close the file."""
        if self._rows:
            self._write_out()
        self._writer.close()

    def _write_out(self) -> None:
        self._writer.write_table(self._table_of(self._rows, self._schema))
        self._rows = []
