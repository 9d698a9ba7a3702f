"""Which modules of `sam2_hf` the runtime consists of: what `sam2_hf.runtime` imports, as far as it needs no torch.

Modules keep their places, so relative imports between them go on working under the name `sam2_hf_runtime`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # where the list is wanted and nothing is built
    BuildHookInterface = object  # type: ignore[assignment,misc]

NAME = "sam2_hf_runtime"
ENTRIES = ("runtime", "version")
ABSENT_LIBRARIES = {"torch", "transformers", "huggingface_hub"}
"""Modules that import one of these at their top are left out, and so is what only they import. A module that stays
may import them in a function, which is called for tensors alone."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """Puts the modules into wheel and sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the modules, from the repository or from an sdist.

        Args:
            version: of the build, "standard" or "editable".
            build_data: what is built, which is added to.
        """
        root = Path(self.root)
        source = root / "sam2_hf"  # of an sdist, which holds the chosen modules alone
        if source.is_dir():
            files = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file()]
        else:
            source = root.parents[1] / "src" / "sam2_hf"
            files = [*module_files(source), "py.typed"]
        target = "sam2_hf" if self.target_name == "sdist" else NAME
        build_data["force_include"].update({str(source / name): f"{target}/{name}" for name in files})


def module_files(source: Path) -> list[str]:
    """List the files of the runtime.

    Args:
        source: the folder of the package `sam2_hf`.

    Returns:
        Paths in it, sorted; the package's own `__init__.py` is not among them.

    Raises:
        ValueError: a module that stays imports, at its top, one that is left out.
    """
    found: set[str] = set()
    waiting = [_file_of(source, entry.split(".")) for entry in ENTRIES]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        folders = Path(name).parents
        waiting += [f"{folder.as_posix()}/__init__.py" for folder in folders if folder != Path()]
        for imported, at_top in _imports(source, name):
            if not _needs_absent(source / imported):
                waiting.append(imported)
            elif at_top:
                raise ValueError(f"{name} imports {imported} at its top, which needs one of {sorted(ABSENT_LIBRARIES)}")
    return sorted(found)


def _file_of(source: Path, parts: list[str]) -> str:
    name = "/".join(parts)
    return f"{name}.py" if (source / f"{name}.py").is_file() else f"{name}/__init__.py"


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(source: Path, name: str) -> Iterator[tuple[str, bool]]:
    """The files that a file imports, and whether it does so at its top."""
    package = Path(name).parent.parts
    for node, at_top in _statements(_parsed(source / name), True):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - (node.level - 1)], *(node.module or "").split(".")]
            base = [part for part in base if part]
            modules = [[*base, alias.name] for alias in node.names]
            submodules = [parts for parts in modules if (source / "/".join(parts)).with_suffix(".py").is_file()]
            yield from ((_file_of(source, parts), at_top) for parts in submodules or [base])


def _needs_absent(path: Path) -> bool:
    """Whether a file imports, at its top, a library that the runtime does without."""
    for node, at_top in _statements(_parsed(path), True):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        is_own = isinstance(node, ast.ImportFrom) and node.level
        if at_top and not is_own and any(name.split(".")[0] in ABSENT_LIBRARIES for name in names):
            return True
    return False


def _statements(node: ast.AST, at_top: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """All imports below a node but those for type checkers, and whether each runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_top
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.orelse:
                yield from _statements(ast.Module([statement], []), at_top)
        else:
            yield from _statements(child, at_top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))
