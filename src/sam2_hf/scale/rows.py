"""A row: one image or clip with its prompts, and how one is read from the columns of a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from ..video_io.file_source import VIDEO_SUFFIXES
from ..video_io.image_source import IMAGE_SUFFIXES

IMAGE, CLIP = "image", "clip"
KINDS = (IMAGE, CLIP)

CONTENT_COLUMNS = {"image": IMAGE, "video": CLIP, "clip": CLIP, "bytes": None, "path": None}
"""Columns that hold what is segmented, in the order in which they are tried, and the kind that they tell."""

PROMPT_COLUMNS = ("points", "labels", "boxes", "masks")
"""Columns with the prompts of a row, in the forms of `segment`; of a clip they are on its first frame."""

COLUMNS = ("id", "kind", *CONTENT_COLUMNS, "prompts", *PROMPT_COLUMNS)
"""All columns that are read; others are left alone."""


@dataclass(frozen=True)
class Row:
    """One image or clip.

    Attributes:
        id: names it in the results.
        kind: "image" or "clip".
        content: a path, bytes of a file, or pixels.
        prompts: as `prompts.read_row_prompts` takes them; None where the row has none.
        error: why the row cannot be used; "" where it can.
    """

    id: str
    kind: str
    content: Any = None
    prompts: Any = None
    error: str = ""


def read_row(values: Mapping[str, Any], number: int, kind: str | None = None, folder: str = "") -> Row:
    """Read a row from the columns of a table.

    Args:
        values: by the names of `COLUMNS`. `image`, `video` and `clip` hold a path, bytes, pixels, or a dictionary with
            `bytes` and `path` as in data sets of Hugging Face.
        number: of the row, which names it where nothing else does.
        kind: of rows that do not tell it.
        folder: where relative paths start.

    Returns:
        The row. One that cannot be used says so in `error`.
    """
    column = next((name for name in CONTENT_COLUMNS if not _is_missing(values.get(name))), None)
    content = None if column is None else values[column]
    path = values.get("path")
    if isinstance(content, Mapping):
        path = path or content.get("path")
        content = content.get("bytes") if not _is_missing(content.get("bytes")) else content.get("path")
    name = _first_text(values.get("id"), values.get("__key__"), path, content) or f"row-{number}"
    if _is_missing(content):
        return Row(name, kind or IMAGE, error=f"the row has none of the columns {', '.join(CONTENT_COLUMNS)}")
    known = values.get("kind") or CONTENT_COLUMNS[column or "path"] or kind or kind_of_name(_first_text(path, content))
    if known not in KINDS:
        return Row(name, kind or IMAGE, error=f"kind must be one of {', '.join(KINDS)}, got {values.get('kind')!r}")
    if isinstance(content, (str, os.PathLike)) and folder and "://" not in os.fspath(content):
        content = os.path.join(folder, content)
    prompts = values.get("prompts")
    if _is_missing(prompts):
        given = {key: plain(values[key]) for key in PROMPT_COLUMNS if not _is_missing(values.get(key))}
        prompts = given or None
    return Row(name, known, content, plain(prompts))


def read_rows(columns: Mapping[str, Sequence[Any]], start: int = 0, **settings: Any) -> Iterator[Row]:
    """Read rows from columns of equal length; see `read_row`."""
    known = {name: values for name, values in columns.items() if name in COLUMNS or name == "__key__"}
    count = len(next(iter(columns.values()), ()))
    for index in range(count):
        yield read_row({name: values[index] for name, values in known.items()}, start + index, **settings)


def names_of(row: Row) -> dict[str, str]:
    """What a row's path is called in the results, which do not tell where files lie."""
    return {os.fspath(row.content): row.id} if isinstance(row.content, (str, os.PathLike)) else {}


def kind_of_name(name: str) -> str:
    """Tell an image from a clip by the end of a file's name; anything else is taken for an image."""
    return CLIP if PurePath(name).suffix.lower() in VIDEO_SUFFIXES else IMAGE


def is_known_file(name: str, kind: str | None) -> bool:
    """Whether a file's name is that of an image or clip, or of the kind that is wanted."""
    suffix = PurePath(name).suffix.lower()
    return (kind != CLIP and suffix in IMAGE_SUFFIXES) or (kind != IMAGE and suffix in VIDEO_SUFFIXES)


def plain(value: Any) -> Any:
    """Turn arrays in nested prompts into lists, as columns of NumPy have them; whole masks stay arrays."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value] if value.dtype == object else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or (isinstance(value, str) and not value)


def _first_text(*values: Any) -> str:
    for value in values:
        if isinstance(value, (str, int, np.integer, os.PathLike)) and not isinstance(value, bool):
            return str(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return ""
