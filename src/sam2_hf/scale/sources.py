"""What rows come from: a source says how many there are and reads any range of them, in this process or another."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..inputs.natural_order import natural_order
from .rows import CLIP, Row, is_known_file, kind_of_name, read_row

DATASET_PREFIX = "dataset:"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Source(Protocol):
    """Rows in a fixed order. Pickled, it reads the same rows elsewhere, where the same files are."""

    def __len__(self) -> int:
        """How many rows there are."""

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read the rows from `start` up to and without `stop`. One that cannot be read says so, and does not raise."""

    def fingerprint(self) -> str:
        """Tell these rows from others: names and numbers, not the content of files."""


class TouchedPart(NamedTuple):
    """A part that a range of rows touches: its number, its own rows from `start` to `stop`, and where it begins."""

    index: int
    start: int
    stop: int
    first: int


class FileSource:
    """Files, and folders of frames.

    Args:
        names: paths, which name the rows.
        kind: of the rows; by default each file's name tells it.
        folder: where relative paths start.
    """

    def __init__(self, names: Sequence[str], kind: str | None = None, folder: str = ""):
        self._names = list(names)
        self._kind = kind
        self._folder = folder or os.getcwd()

    def __len__(self) -> int:
        return len(self._names)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Name the files; the worker opens them."""
        for name in self._names[start:stop]:
            path = name if "://" in name else os.path.join(self._folder, name)
            yield Row(Path(name).as_posix(), self._kind or kind_of_name(name), path)

    def fingerprint(self) -> str:
        """Hash the names and the kind."""
        return hash_texts([str(self._kind), *self._names])


class MappingSource:
    """Rows that are dictionaries in memory.

    Args:
        rows: with the names of `rows.COLUMNS`.
        kind: of rows that do not tell it.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], kind: str | None = None):
        self._rows = list(rows)
        self._kind = kind
        self._folder = os.getcwd()

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read the dictionaries."""
        for number, values in enumerate(self._rows[start:stop], start=start):
            yield read_row(values, number, self._kind, self._folder)

    def fingerprint(self) -> str:
        """Hash names, kinds and prompts."""
        rows = (read_row(values, number, self._kind) for number, values in enumerate(self._rows))
        return hash_texts(f"{row.id} {row.kind} {row.prompts}" for row in rows)


class JoinedSource:
    """Several sources, one behind the other.

    Args:
        parts: the sources.
    """

    def __init__(self, parts: Sequence[Source]):
        self._parts = list(parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read from each part that the range touches."""
        for touched in touched_parts(map(len, self._parts), start, stop):
            yield from self._parts[touched.index].read(touched.start, touched.stop)

    def fingerprint(self) -> str:
        """Hash those of the parts."""
        return hash_texts(part.fingerprint() for part in self._parts)


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
        from .dataset_source import DatasetSource

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


def touched_parts(counts: Iterable[int], start: int, stop: int) -> Iterator[TouchedPart]:
    """Find the parts that a range of rows touches, where parts with these numbers of rows follow each other."""
    first = 0
    for index, count in enumerate(counts):
        low, high = max(start - first, 0), min(stop - first, count)
        if low < high:
            yield TouchedPart(index, low, high, first)
        first += count


def hash_texts(texts: Iterable[str]) -> str:
    """Hash texts in their order."""
    found = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogateescape")
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()


def _open_texts(texts: Sequence[str], kind: str | None, columns: Mapping[str, str] | None, split: str) -> Source:
    parts: list[Source] = []
    names: list[str] = []
    tables: list[str] = []
    archives: list[str] = []
    for text in texts:
        if text.startswith(DATASET_PREFIX):
            from .dataset_source import DatasetSource, load_dataset

            parts.append(DatasetSource(load_dataset(text.removeprefix(DATASET_PREFIX), split), kind, columns))
            continue
        for name in _find(text, kind):
            ends = {".parquet": tables, ".tar": archives}
            ends.get(Path(name).suffix.lower(), names).append(name)
    if tables:
        from .parquet_source import ParquetSource

        parts.append(ParquetSource(tables, kind, columns))
    if archives:
        from .tar_source import TarSource

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
