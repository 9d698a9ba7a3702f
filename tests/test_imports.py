"""Which file of the package may import which: the rooms, their directions, and what is imported late or never.

The imports are read from the source, so nothing has to be installed. An import under `TYPE_CHECKING` counts for
private names and for files that import each other; one within a function counts like any other, except for optional
libraries.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "sam2_hf"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("version", "arrays", "presets", "policy_setting", "sizes", "prompt_values", "hub", "outputs"),
    ("configuration_checks",),
    ("configuration_vision", "configuration_prompts"),
    ("configuration_sam2",),
    ("fast",),
    ("network",),
    ("inputs", "masks", "video_io"),
    (
        *("image_processing_sam2", "processing_sam2", "processing_sam2_video"),
        *("video_processing_sam2", "mask_generation", "tracking", "modeling_sam2", "modeling_sam2_video"),
    ),
    ("convert", "training", "results"),
    ("predictors",),
    ("everything",),
    ("grounded",),
    ("official", "exporters", "runtime", "app", "scale", "integrations", "demo"),
    ("as_sam2", "cli"),
)
"""Rooms (packages) and files at the top of the package, the lowest first.

A room imports from its own layer and from those below it, and no two rooms import each other. The last two layers are
front ends: the package's public names lead to them, and no other code does.
"""

ALLOWED = {
    "version": set(),
    "arrays": set(),
    "presets": set(),
    "policy_setting": set(),
    "outputs": set(),
    "hub": {"presets"},
    "sizes": set(),
    "prompt_values": set(),
    "configuration_checks": {"sizes"},
    "configuration_vision": {"configuration_checks", "sizes"},
    "configuration_prompts": {"configuration_checks", "sizes"},
    "configuration_sam2": {
        *("presets", "policy_setting", "hub", "sizes"),
        *("configuration_checks", "configuration_vision", "configuration_prompts"),
    },
    "fast": set(),
    "network": {"arrays", "configuration_sam2", "outputs", "prompt_values", "sizes"},
}
"""Where a room may import less than its layer allows: all that it may import."""

REQUIRED_LIBRARIES = {"filelock", "huggingface_hub", "numpy", "PIL", "safetensors", "torch", "tqdm", "transformers"}
"""What a module may import at its top; filelock and tqdm come with huggingface_hub. Other libraries, PyAV included, are
imported by the function that needs them."""

OPTIONAL_LIBRARIES_AT_THE_TOP: dict[str, set[str]] = {"cli": {"typer"}, "app": {"gradio"}}
"""Rooms that nothing loads unless their library is wanted, and that library."""

FORBIDDEN_LIBRARIES = ("torchvision", "transformers.models")


@dataclass(frozen=True)
class Import:
    """One name of one import statement: `importer` and `imported` are modules, "" the package itself."""

    importer: str
    imported: str
    name: str | None
    line: int
    in_function: bool
    for_types: bool
    external: bool

    def __str__(self) -> str:
        what = f"{self.imported or 'sam2_hf'}" + (f":{self.name}" if self.name else "")
        return f"{self.importer or '__init__'} (line {self.line}) imports {what}"


def read_modules(package: Path) -> dict[str, ast.Module]:
    """The syntax trees of a package's modules, by names without that of the package: "fast.dispatch", "fast", ""."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return modules


def read_imports(modules: Mapping[str, ast.Module], packages: set[str], root: str = "sam2_hf") -> list[Import]:
    """All imports of all modules; `packages` are the modules that are folders."""
    return [found for name, tree in modules.items() for found in _imports_of(name, tree, modules, packages, root)]


def _imports_of(
    importer: str, tree: ast.Module, modules: Mapping[str, ast.Module], packages: set[str], root: str
) -> Iterator[Import]:
    for node, in_function, for_types in _statements(tree, False, False):
        if isinstance(node, ast.Import):
            targets = [(alias.name, None) for alias in node.names]
        else:
            targets = [(_absolute(node, importer, packages, root), alias.name) for alias in node.names]
        for module, name in targets:
            inside = module == root or module.startswith(f"{root}.")
            module = module.removeprefix(root).removeprefix(".") if inside else module
            if inside and name is not None and (submodule := f"{module}.{name}".lstrip(".")) in modules:
                module, name = submodule, None
            yield Import(importer, module, name, node.lineno, in_function, for_types, not inside)


def _statements(
    node: ast.AST, in_function: bool, for_types: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, in_function, for_types
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _statements(ast.Module([statement], []), in_function, True)
            for statement in child.orelse:
                yield from _statements(ast.Module([statement], []), in_function, for_types)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _statements(child, in_function or is_function, for_types)


def _absolute(node: ast.ImportFrom, importer: str, packages: set[str], root: str) -> str:
    if not node.level:
        return node.module or ""
    parts = [root, *filter(None, importer.split("."))]
    up = node.level - (importer in packages)
    return ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])


def room_of(module: str) -> str:
    """The package at the top, or the file at the top, that a module belongs to."""
    return module.split(".")[0]


def find_cycle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Nodes that lead to each other in a ring, the first also at the end; empty if there is none."""
    finished: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack = [(start, iter(sorted(graph.get(start, ()))))] if start not in finished else []
        path.append(start)
        while stack:
            node, followers = stack[-1]
            following = next(followers, None)
            if following is None:
                stack.pop()
                path.pop()
                finished.add(node)
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in finished:
                stack.append((following, iter(sorted(graph.get(following, ())))))
                path.append(following)
    return []


MODULES = read_modules(PACKAGE)
PACKAGES = {name for name in MODULES if (PACKAGE / name.replace(".", "/") / "__init__.py").exists()}
IMPORTS = read_imports(MODULES, PACKAGES)
INSIDE = [found for found in IMPORTS if not found.external]
AT_RUN_TIME = [found for found in INSIDE if not found.for_types and found.importer != ""]
LAYER_OF = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
FRONT_ENDS = {room for rooms in LAYERS[-2:] for room in rooms}


def test_every_room_has_a_layer():
    rooms = {room_of(name) for name in MODULES} - {"", "__main__"}
    assert rooms <= LAYER_OF.keys(), f"no layer for {sorted(rooms - LAYER_OF.keys())}"


@pytest.mark.parametrize("room", sorted({room_of(name) for name in MODULES} - {"", "__main__"}))
def test_rooms_import_what_lies_below_them(room):
    def may(other: str) -> bool:
        if room in ALLOWED:
            return other in ALLOWED[room]
        return LAYER_OF[other] <= LAYER_OF[room]

    imports = [found for found in AT_RUN_TIME if room_of(found.importer) == room]
    wrong = [
        found for found in imports if room_of(found.imported) not in (room, "") and not may(room_of(found.imported))
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_nothing_imports_a_front_end():
    wrong = [
        found
        for found in AT_RUN_TIME
        if room_of(found.imported) in FRONT_ENDS and room_of(found.importer) not in FRONT_ENDS | {"__main__"}
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_no_room_takes_what_it_needs_from_the_public_names():
    """`from .. import Sam2Model` would import upward, and hide from where."""
    wrong = [found for found in AT_RUN_TIME if found.imported == "" and found.importer.split(".")[0] not in FRONT_ENDS]
    assert not wrong, "\n".join(map(str, wrong))


def test_no_files_import_each_other_not_even_for_types():
    graph: dict[str, set[str]] = {}
    for found in INSIDE:
        if found.imported and found.importer:
            graph.setdefault(found.importer, set()).add(found.imported)
    assert not find_cycle(graph)


def test_no_rooms_import_each_other():
    graph: dict[str, set[str]] = {}
    for found in AT_RUN_TIME:
        ends = room_of(found.importer), room_of(found.imported)
        if ends[0] != ends[1] and ends[1]:
            graph.setdefault(ends[0], set()).add(ends[1])
    assert not find_cycle(graph)


def is_private(name: str | None) -> bool:
    return name is not None and name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def test_no_private_name_is_imported_from_another_file():
    wrong = [found for found in INSIDE if is_private(found.name) or any(map(is_private, found.imported.split(".")))]
    assert not wrong, "\n".join(map(str, wrong))


PUBLIC_DESPITE_THEIR_NAMES = {"_asdict", "_fields", "_make", "_replace"}  # of named tuples


def private_attributes(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Private names that a file defines, and private attributes that it takes from other objects than `self`."""
    defined, taken = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            defined.add(node.attr)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            taken.add(node.attr)
    return set(filter(is_private, defined)), set(filter(is_private, taken))


def test_no_private_attribute_of_another_file_is_used():
    """A subclass may use those of its base class."""
    names = {name: private_attributes(tree) for name, tree in MODULES.items()}
    everywhere = set().union(*(defined for defined, _ in names.values()))
    wrong = [
        f"{name} uses {attribute}"
        for name, (defined, taken) in names.items()
        for attribute in sorted((taken & everywhere) - defined - PUBLIC_DESPITE_THEIR_NAMES)
    ]
    assert not wrong, "\n".join(wrong)


def test_optional_libraries_are_imported_where_they_are_used():
    known = REQUIRED_LIBRARIES | set(sys.stdlib_module_names)
    wrong = []
    for found in IMPORTS:
        library = found.imported.split(".")[0]
        allowed = known | OPTIONAL_LIBRARIES_AT_THE_TOP.get(room_of(found.importer), set())
        if found.external and not found.in_function and not found.for_types and library not in allowed:
            wrong.append(found)
    assert not wrong, "\n".join(map(str, wrong))


def test_neither_torchvision_nor_models_of_transformers_are_imported():
    def is_forbidden(module: str) -> bool:
        return any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN_LIBRARIES)

    wrong = [
        str(found)
        for found in IMPORTS
        if is_forbidden(found.imported) or is_forbidden(f"{found.imported}.{found.name}")
    ]
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
                wrong += [f"{name} (line {node.lineno}) imports {text}" for text in texts if is_forbidden(str(text))]
    assert not wrong, "\n".join(wrong)


class TestTheReader:
    """That the reader sees what it is to see: the tests above could not fail if it found nothing."""

    def read(self, **sources: str) -> list[Import]:
        modules = {name.replace("__", "."): ast.parse(source) for name, source in sources.items()}
        modules = {"" if name == "root" else name: tree for name, tree in modules.items()}
        packages = {""} | {name.rpartition(".")[0] for name in modules}
        return read_imports(modules, packages)

    def test_names_modules_and_levels_are_resolved(self):
        found = self.read(
            root="from .a import f", a="import torch.nn", b="", b__c="from . import d\nfrom ..a import f", b__d=""
        )
        assert [(one.importer, one.imported, one.name, one.external) for one in found] == [
            ("", "a", "f", False),
            ("a", "torch.nn", None, True),
            ("b.c", "b.d", None, False),
            ("b.c", "a", "f", False),
        ]

    def test_imports_in_functions_and_for_types_are_told_apart(self):
        source = "if TYPE_CHECKING:\n import a\nelse:\n import b\ndef f():\n try:\n  import c\n except: pass\n"
        found = self.read(x=source)
        assert [(one.imported, one.in_function, one.for_types) for one in found] == [
            ("a", False, True),
            ("b", False, False),
            ("c", True, False),
        ]

    def test_the_package_by_its_own_name_is_the_package(self):
        (found,) = self.read(x="from sam2_hf.y import _z", y="")
        assert (found.imported, found.name, found.external) == ("y", "_z", False)

    def test_rings_are_found_and_forks_are_not_rings(self):
        assert find_cycle({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []
        assert find_cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]

    def test_private_attributes_of_others_are_seen(self):
        defined, taken = private_attributes(ast.parse("class _A:\n def f(self, b): self._c = self._d + b._e + b.g"))
        assert (defined, taken) == ({"_A", "_c"}, {"_e"})

    def test_it_reads_the_package(self):
        assert len(MODULES) > 80
        assert ("hub.auto_classes", "register") in {(one.imported, one.name) for one in INSIDE if one.importer == ""}
