"""Rows of Parquet files: paths or bytes of images and clips, with their prompts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .optional_libraries import import_parquet
from .rows import COLUMNS, IMAGE, Row, read_row
from .sources import TouchedPart, hash_texts, touched_parts


class _Table(NamedTuple):
    """A file, the rows of each of its row groups, and why it cannot be read."""

    path: str
    groups: tuple[int, ...]
    error: str = ""

    def num_rows(self) -> int:
        """A file that cannot be read counts as one row, which says so."""
        return 1 if self.error else sum(self.groups)


class ParquetSource:
    """Rows of Parquet files. Relative paths in them start at the folder of their file.

    Args:
        paths: the files.
        kind: of rows that do not tell it.
        columns: what columns are called, by the names of `rows.COLUMNS`.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: a column that does not exist.
    """

    def __init__(self, paths: Sequence[str], kind: str | None = None, columns: Mapping[str, str] | None = None):
        self._kind = kind
        self._names = column_names(columns)
        self._tables = [_open(os.path.abspath(path)) for path in paths]

    def __len__(self) -> int:
        return sum(table.num_rows() for table in self._tables)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read the row groups that the range touches, one at a time."""
        for part in touched_parts((table.num_rows() for table in self._tables), start, stop):
            table = self._tables[part.number]
            if table.error:
                yield Row(os.path.basename(table.path), self._kind or IMAGE, error=table.error)
                continue
            for group in touched_parts(table.groups, part.start, part.stop):
                yield from self._read_group(table.path, group, part.first + group.first)

    def fingerprint(self) -> str:
        """Hash the files' names, their numbers of rows, and the columns."""
        tables = [f"{os.path.basename(table.path)} {table.groups} {bool(table.error)}" for table in self._tables]
        return hash_texts([str(self._kind), *map(str, sorted(self._names.items())), *tables])

    def _read_group(self, path: str, group: TouchedPart, offset: int) -> Iterator[Row]:
        """Read rows of a row group, the first of which is the row `offset` of the source."""
        try:
            with import_parquet().ParquetFile(path) as file:
                wanted = [name for name in file.schema_arrow.names if name in self._names.values()]
                found = file.read_row_group(group.number, columns=wanted).to_pylist()
        except (OSError, ValueError) as error:
            for index in range(group.start, group.stop):
                name = f"{os.path.basename(path)}#{offset + index}"
                yield Row(name, self._kind or IMAGE, error=f"the row group cannot be read: {error}")
            return
        for index in range(group.start, group.stop):
            named = {name: found[index].get(column) for name, column in self._names.items()}
            yield read_row(named, offset + index, self._kind, os.path.dirname(path))


def column_names(columns: Mapping[str, str] | None) -> dict[str, str]:
    """What each of `rows.COLUMNS` is called in a table: as it is called here, unless it is said otherwise.

    Raises:
        ValueError: a name that is not among `rows.COLUMNS`.
    """
    given = dict(columns or {})
    unknown = sorted(given.keys() - set(COLUMNS))
    if unknown:
        raise ValueError(f"columns must be some of {', '.join(COLUMNS)}, got {', '.join(unknown)}")
    return {**{name: name for name in COLUMNS}, **given}


def _open(path: str) -> _Table:
    parquet = import_parquet()
    try:
        with parquet.ParquetFile(path) as file:
            found: Any = file.metadata
            return _Table(path, tuple(found.row_group(number).num_rows for number in range(found.num_row_groups)))
    except (OSError, ValueError) as error:
        if not os.path.exists(path):
            raise
        return _Table(path, (), f"{os.path.basename(path)} is no Parquet file: {error}")
