"""What writers of files have in common, and how records are passed through them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .records import ImageRecord


class RecordWriter(Protocol):
    """Writes images or frames to a file, one at a time."""

    def write(self, record: ImageRecord) -> None:
        """Write an image or frame."""

    def close(self) -> None:
        """Finish the file. May be called again."""


def write_records(records: Iterable[ImageRecord], writer: RecordWriter) -> None:
    """Write records with a writer, and close it whatever happens."""
    try:
        for record in records:
            writer.write(record)
    finally:
        writer.close()
