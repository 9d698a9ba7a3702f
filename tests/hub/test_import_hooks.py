"""Callbacks after an import that somebody else does."""

from __future__ import annotations

import importlib
import inspect
import sys

import pytest

from sam2_hf.hub.import_hooks import _finder, cancel, when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported, and returns its name."""
    name = "waited_for_module"
    (tmp_path / f"{name}.py").write_text("value = 1\ndone = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield name
    cancel(name)
    sys.modules.pop(name, None)


def test_callback_sees_the_finished_module_once(module):
    seen = []
    when_imported(module, lambda m: seen.append((m.__name__, m.done)))
    assert module not in sys.modules and not seen
    importlib.import_module(module)
    importlib.import_module(module)
    assert seen == [(module, True)]


def test_module_that_is_there_already_is_reported_at_once(module):
    importlib.import_module(module)
    seen = []
    when_imported(module, seen.append)
    assert seen == [sys.modules[module]]


def test_callbacks_come_in_the_order_of_their_registration(module):
    seen = []
    when_imported(module, lambda _: seen.append("first"))
    when_imported(module, lambda _: seen.append("second"))
    importlib.import_module(module)
    assert seen == ["first", "second"]


def test_imported_module_knows_its_own_loader(module):
    when_imported(module, lambda _: None)
    imported = importlib.import_module(module)
    assert type(imported.__loader__).__name__ == "SourceFileLoader"
    assert imported.__spec__.loader is imported.__loader__
    assert "value = 1" in inspect.getsource(imported)


def test_package_keeps_its_submodules(tmp_path, monkeypatch):
    folder = tmp_path / "waited_for_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .part import value\n")
    (folder / "part.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    seen = []
    when_imported("waited_for_package", lambda m: seen.append(m.value))
    importlib.import_module("waited_for_package.part")
    assert seen == [2]


def test_failed_import_is_reported_only_when_it_succeeds(module, tmp_path):
    seen = []
    source = tmp_path / f"{module}.py"
    source.write_text("raise RuntimeError('not yet')\n")
    when_imported(module, seen.append)
    with pytest.raises(RuntimeError, match="not yet"):
        importlib.import_module(module)
    assert not seen
    source.write_text("value = 'now, and of another length'\n")
    importlib.invalidate_caches()
    importlib.import_module(module)
    assert len(seen) == 1


def test_cancelled_callback_never_runs(module):
    seen = []
    when_imported(module, seen.append)
    assert _finder in sys.meta_path
    cancel(module)
    importlib.import_module(module)
    assert not seen


def test_missing_module_fails_as_ever():
    when_imported("no_such_module_anywhere", lambda _: None)
    try:
        with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
            importlib.import_module("no_such_module_anywhere")
    finally:
        cancel("no_such_module_anywhere")
