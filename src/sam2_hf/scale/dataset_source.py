"""Rows of a data set of Hugging Face."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from .optional_libraries import import_datasets
from .parquet_source import column_names
from .rows import Row, read_row
from .sources import hash_texts

_READ_AT_ONCE = 16


class DatasetSource:
    """Rows of a `datasets.Dataset`; images and clips are read as they are stored, undecoded.

    Args:
        dataset: the data set.
        kind: of rows that do not tell it.
        columns: what columns are called, by the names of `rows.COLUMNS`.

    Raises:
        ValueError: a column that does not exist.
    """

    def __init__(self, dataset: Any, kind: str | None = None, columns: Mapping[str, str] | None = None):
        names = column_names(columns)
        self._kind = kind
        self._names = {name: column for name, column in names.items() if column in dataset.column_names}
        dataset = dataset.with_format(None).select_columns(sorted(set(self._names.values())))
        for column, feature in dataset.features.items():
            if hasattr(feature, "decode") and type(feature).__name__ in ("Image", "Video"):
                dataset = dataset.cast_column(column, type(feature)(decode=False))
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """Read some rows at a time."""
        for first in range(start, stop, _READ_AT_ONCE):
            last = min(first + _READ_AT_ONCE, stop)
            found = self._dataset[first:last]
            for index in range(last - first):
                values = {name: found[column][index] for name, column in self._names.items()}
                yield read_row(values, first + index, self._kind)

    def fingerprint(self) -> str:
        """Hash the number of rows and what the columns are."""
        return hash_texts([str(self._kind), str(len(self)), str(self._dataset.features), str(self._names)])


def load_dataset(name: str, split: str) -> Any:
    """Load a data set by its name on the Hub, or from the folder that `save_to_disk` wrote.

    Raises:
        ImportError: `datasets` is not installed.
        FileNotFoundError, ValueError: as `datasets` says.
    """
    datasets = import_datasets()
    if os.path.isdir(name) and any(
        os.path.exists(os.path.join(name, file)) for file in ("state.json", "dataset_dict.json")
    ):
        loaded = datasets.load_from_disk(name)
        return loaded[split] if hasattr(loaded, "keys") else loaded
    return datasets.load_dataset(name, split=split)
