"""JSON files of results: written at once, or growing while frames pass."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def written_json(content: dict[str, Any], path: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Write JSON where a path is given, and give the content back."""
    if path is not None:
        Path(path).write_text(as_json(content), encoding="utf-8")
    return content


def as_json(value: Any) -> str:
    """Write a value as JSON; what JSON does not know, such as an object's name, as its text."""
    return json.dumps(value, default=str)


class GrowingJsonFile:
    """A JSON object of which one list grows. The file is complete JSON whenever an item has been appended.

    Behind the list stands the rest of the object. It is written again after new items, over the old rest. Where the
    rest is long, items wait in a temporary file until they are as long as the rest, so that each byte is written twice
    at most on average, and at worst half of the items are missing after the process was killed.

    Args:
        path: the file.
        key: of the list.
        write_rest: writes the other keys of the object, each with a comma before it, to the open file.
    """

    def __init__(self, path: str | os.PathLike[str], key: str, write_rest: Callable[[IO[bytes]], None]):
        self._write_rest = write_rest
        self._waiting: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # until `close`
        self._is_empty = True
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115
        self._file.write(f"{{{json.dumps(key)}: [".encode())
        self._list_end = self._file.tell()
        self._rest_size = 0
        self._write_out()

    def append(self, *items: Any) -> None:
        """Append items to the list."""
        for item in items:
            self._waiting.write(("" if self._is_empty else ",\n").encode() + as_json(item).encode())
            self._is_empty = False
        if self._waiting.tell() >= self._rest_size:
            self._write_out()

    def close(self) -> None:
        """Write what waits, and close the file."""
        if not self._file.closed:
            self._write_out()
            self._file.close()
            self._waiting.close()

    def _write_out(self) -> None:
        self._waiting.seek(0)
        self._file.seek(self._list_end)
        shutil.copyfileobj(self._waiting, self._file)
        self._list_end = self._file.tell()
        self._waiting.seek(0)
        self._waiting.truncate()
        self._file.write(b"]")
        self._write_rest(self._file)
        self._file.write(b"}")
        self._rest_size = self._file.tell() - self._list_end
        self._file.truncate()
        self._file.flush()
