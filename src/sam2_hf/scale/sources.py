"""What rows come from: a source says how many there are and reads any range of them, in this process or another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .rows import Row, kind_of_name, read_row


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

    number: int
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
            yield from self._parts[touched.number].read(touched.start, touched.stop)

    def fingerprint(self) -> str:
        """Hash those of the parts."""
        return hash_texts(part.fingerprint() for part in self._parts)


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
