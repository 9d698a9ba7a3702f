"""Callbacks that run right after a module has been imported, without importing it oneself."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Callback = Callable[[ModuleType], None]

_waiting: dict[str, list[Callback]] = {}


def when_imported(name: str, callback: Callback) -> None:
    """Call `callback(module)` once: now if module `name` is imported already, else right after its import."""
    if name in sys.modules:
        callback(importlib.import_module(name))  # waits for a thread that is in the middle of importing it
        return
    _waiting.setdefault(name, []).append(callback)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def cancel(name: str) -> None:
    """Drop what waits for module `name`."""
    _waiting.pop(name, None)
    if not _waiting and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _WaitingFinder(MetaPathFinder):
    """Lets the other finders find a module that is waited for, and has its loader report the end of the import."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _ReportingLoader(spec.loader)
                return spec
        return None


class _ReportingLoader(Loader):
    """Imports with the module's own loader, which stays the one that the module knows, and then reports."""

    def __init__(self, own: Loader):
        self.own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.own
        module.__loader__ = self.own
        self.own.exec_module(module)
        callbacks = _waiting.get(module.__name__, [])
        cancel(module.__name__)
        for callback in callbacks:
            callback(module)


_finder = _WaitingFinder()
