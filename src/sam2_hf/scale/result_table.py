"""Results as a table: a row for each image and for each frame of a clip, and one for each that failed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..results.records import ImageRecord, ObjectMask
from .optional_libraries import import_pyarrow
from .rows import IMAGE, Row

COLUMN_NAMES = (
    *("id", "kind", "frame", "height", "width", "fps"),
    *("track_ids", "labels", "boxes", "areas", "scores", "object_scores", "rles", "error"),
)


def schema() -> Any:
    """Describe the columns.

    Returns:
        A `pyarrow.Schema`. `frame` and `fps` are those of a clip. Columns in the plural are lists with a value for each
        object: `track_ids` number the objects of an image or clip, `labels` are the names that prompts gave, `boxes`
        (x0, y0, x1, y1) with x1 and y1 beyond the mask, `areas` in pixels, `scores` the predicted IoU,
        `object_scores` the logit of being visible, and `rles` COCO's run lengths, for the row's `height` and `width`.
        `error` says why there is no result; it is null where there is one.
    """
    arrow = import_pyarrow()
    types = {
        "id": arrow.string(),
        "kind": arrow.string(),
        "frame": arrow.int32(),
        "height": arrow.int32(),
        "width": arrow.int32(),
        "fps": arrow.float64(),
        "track_ids": arrow.list_(arrow.int64()),
        "labels": arrow.list_(arrow.string()),
        "boxes": arrow.list_(arrow.list_(arrow.int32())),
        "areas": arrow.list_(arrow.int64()),
        "scores": arrow.list_(arrow.float32()),
        "object_scores": arrow.list_(arrow.float32()),
        "rles": arrow.list_(arrow.string()),
        "error": arrow.string(),
    }
    return arrow.schema([(name, types[name]) for name in COLUMN_NAMES])


def to_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Make a `pyarrow.Table` of rows."""
    return import_pyarrow().Table.from_pylist(list(rows), schema())


def image_row(row: Row, objects: Sequence[ObjectMask], size: tuple[int, int]) -> dict[str, Any]:
    """Describe the objects of an image."""
    return _result(row, objects, size, _Numbers())


def clip_rows(row: Row, records: Iterable[ImageRecord], fps: float | None) -> Iterator[dict[str, Any]]:
    """Describe the objects of each frame of a clip; an object has one number in all of them."""
    numbers = _Numbers()
    for record in records:
        yield {**_result(row, record.objects, record.size, numbers), "frame": record.frame, "fps": fps}


def error_row(row: Row, error: str) -> dict[str, Any]:
    """Say why an image or clip has no result, or no further one."""
    return {"id": row.id, "kind": row.kind, "error": error}


def read_record(values: Mapping[str, Any]) -> ImageRecord:
    """Read a row back as the writers of files take it; objects are named by their labels, else by their numbers."""
    size = (values["height"], values["width"])
    columns = ("track_ids", "labels", "scores", "object_scores", "rles")
    objects = [
        ObjectMask(
            number if label is None else label,
            {"size": list(size), "counts": rle},
            score,
            object_score,
            extra={} if values["kind"] == IMAGE else {"track_id": number},
        )
        for number, label, score, object_score, rle in zip(*(values[name] for name in columns), strict=True)
    ]
    return ImageRecord(objects, size, values["id"], values["frame"])


def _result(row: Row, objects: Sequence[ObjectMask], size: tuple[int, int], numbers: _Numbers) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "height": size[0],
        "width": size[1],
        "track_ids": [numbers.of(item.name) for item in objects],
        "labels": [item.name if isinstance(item.name, str) else None for item in objects],
        "boxes": [list(item.box) for item in objects],
        "areas": [item.area for item in objects],
        "scores": [item.score for item in objects],
        "object_scores": [item.object_score for item in objects],
        "rles": [item.compressed_rle()["counts"] for item in objects],
    }


class _Numbers:
    """Numbers the objects of an image or clip: by their names where these are numbers, else in their order."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, name: Hashable) -> int:
        """Give an object's number."""
        if name not in self._known:
            taken = set(self._known.values())
            is_free = isinstance(name, (int, np.integer)) and not isinstance(name, bool) and int(name) not in taken
            number = int(name) if is_free else 1  # type: ignore[call-overload]
            while number in taken:
                number += 1
            self._known[name] = number
        return self._known[name]
