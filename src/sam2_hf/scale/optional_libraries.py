"""Libraries of the extra `scale`, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any


def import_pyarrow() -> Any:
    """Import pyarrow.

    Raises:
        ImportError: it is not installed.
    """
    return _import("pyarrow", "tables")


def import_parquet() -> Any:
    """Import `pyarrow.parquet`.

    Raises:
        ImportError: pyarrow is not installed.
    """
    return _import("pyarrow.parquet", "Parquet")


def import_ray_data() -> Any:
    """Import `ray.data`.

    Raises:
        ImportError: Ray is not installed.
    """
    return _import("ray.data", "an address")


def import_datasets() -> Any:
    """Import `datasets`.

    Raises:
        ImportError: it is not installed.
    """
    return _import("datasets", "a data set of Hugging Face")


def _import(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.split(".")[0]
        raise ImportError(f"{purpose} needs {library}; install it with: pip install 'sam2-hf[scale]'") from error
