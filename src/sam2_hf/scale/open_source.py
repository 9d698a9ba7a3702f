"""From what a user names to the source of its rows."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..inputs.natural_order import natural_order
from .dataset_source import DatasetSource, load_dataset
from .parquet_source import ParquetSource
from .rows import CLIP, is_known_file
from .sources import FileSource, JoinedSource, MappingSource, Source
from .tar_source import TarSource

DATASET_PREFIX = "dataset:"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def open_source(
    source: Any, kind: str | None = None, columns: Mapping[str, str] | None = None, split: str = "train"
) -> Source:
    """Open anything that has rows.

    Args:
        source: a text or path, or a list of them: files, folders (with all images and clips in them), patterns,
            `*.parquet`, WebDataset shards `*.tar` (also as `{000..123}.tar`), `dataset:NAME` for a data set of Hugging
            Face, by its name on the Hub or the folder that it was saved to; a `datasets.Dataset`; a list of
            dictionaries; or a `Source`.
        kind: "image" or "clip", of rows that do not tell it. With "clip", a folder of images is a clip.
        columns: what the columns of tables are called, by the names of `rows.COLUMNS`.
        split: of a data set that has several.

    Raises:
        FileNotFoundError: nothing of that name, or nothing in it.
        TypeError: rows of no kind.
        ValueError: there are no rows.
    """
    if isinstance(source, (str, os.PathLike)):
        source = [source]
    if hasattr(source, "read") and hasattr(source, "fingerprint"):
        opened: Source = source
    elif hasattr(source, "with_format") and hasattr(source, "features"):
        opened = DatasetSource(source, kind, columns)
    elif isinstance(source, Sequence) and source and all(isinstance(item, Mapping) for item in source):
        opened = MappingSource(source, kind)
    elif isinstance(source, Sequence) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        opened = _open_texts([os.fspath(item) for item in source], kind, columns, split)
    else:
        raise TypeError(
            "source must be paths, patterns, dictionaries or a data set, in a list where they are several, "
            f"got {type(source).__name__}" + (" that is empty" if source in ([], ()) else "")
        )
    if not len(opened):
        raise ValueError("the source has no rows")
    return opened


def _open_texts(texts: Sequence[str], kind: str | None, columns: Mapping[str, str] | None, split: str) -> Source:
    parts: list[Source] = []
    names: list[str] = []
    tables: list[str] = []
    archives: list[str] = []
    for text in texts:
        if text.startswith(DATASET_PREFIX):
            parts.append(DatasetSource(load_dataset(text.removeprefix(DATASET_PREFIX), split), kind, columns))
            continue
        for name in _find(text, kind):
            ends = {".parquet": tables, ".tar": archives}
            ends.get(Path(name).suffix.lower(), names).append(name)
    if tables:
        parts.append(ParquetSource(tables, kind, columns))
    if archives:
        parts.append(TarSource(archives, kind))
    if names or not parts:
        parts.append(FileSource(names, kind))
    return parts[0] if len(parts) == 1 else JoinedSource(parts)


def _find(text: str, kind: str | None) -> list[str]:
    """The files that a text stands for, in natural order."""
    if braces := _BRACES.search(text):
        first, last = braces.groups()
        numbers = range(int(first), int(last) + 1)
        return [
            name
            for number in numbers
            for name in _find(f"{text[: braces.start()]}{number:0{len(first)}d}{text[braces.end() :]}", kind)
        ]
    if "://" in text:
        return [text]
    if os.path.isdir(text):
        found = _find_in_folder(text, kind)
        if not found:
            raise FileNotFoundError(f"the folder {text!r} holds no {kind or 'image or clip'}s")
        return found
    if os.path.exists(text):
        return [text]
    found = natural_order(glob.glob(text, recursive=True))
    if not found:
        raise FileNotFoundError(f"there is no such file, folder or pattern: {text!r}")
    return [name for match in found for name in (_find(match, kind) if os.path.isdir(match) else [match])]


def _find_in_folder(folder: str, kind: str | None) -> list[str]:
    """The tables and archives in a folder, or else its images and clips, at any depth."""
    found: list[str] = []
    collected: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = natural_order(name for name in folders if not name.startswith("."))
        shown = natural_order(name for name in names if not name.startswith("."))
        collected += [os.path.join(place, name) for name in shown if name.lower().endswith((".parquet", ".tar"))]
        if kind == CLIP and any(is_known_file(name, "image") for name in shown):
            found.append(place)
            folders.clear()
            continue
        found += [os.path.join(place, name) for name in shown if is_known_file(name, kind)]
    return collected or found
