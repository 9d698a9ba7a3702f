"""Many images and clips: a worker for any engine that maps batches, and runs that can be stopped and resumed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch_run import run
    from .summary import RunSummary
    from .worker import Worker

_MODULE_OF = {"run": "batch_run", "RunSummary": "summary", "Worker": "worker"}

__all__ = ["RunSummary", "Worker", "run"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
