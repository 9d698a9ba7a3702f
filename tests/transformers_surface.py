"""What transformers' modules of SAM 2 define, read from their source: some of them cannot be imported without
torchvision, which this project does without."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import transformers

_FOLDER = Path(transformers.__file__).parent / "models"
_PACKAGES = ("sam2", "sam2_video")


@dataclass
class ClassSurface:
    """A class as its source has it.

    Attributes:
        name: of the class.
        exported: whether its module exports it.
        methods: arguments by the names of public methods, without `self` and those that take the rest.
        fields: names with an annotation or a value in the body of the class, in that order.
        attributes: what `__init__` sets on the instance.
        properties: names of its properties.
    """

    name: str
    exported: bool
    methods: dict[str, list[str]] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    properties: list[str] = field(default_factory=list)


@cache
def classes() -> dict[str, ClassSurface]:
    """All classes of transformers' two packages, by name."""
    found = {}
    for package in _PACKAGES:
        for path in sorted((_FOLDER / package).glob("*.py")):
            if path.name.startswith(("modular_", "convert_", "__init__")):
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            exported = _exported(tree)
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    found[node.name] = _surface(node, node.name in exported)
    return found


def exported_names() -> list[str]:
    """The classes that transformers exports, in order of their names."""
    return sorted(name for name, surface in classes().items() if surface.exported)


def _exported(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _surface(node: ast.ClassDef, exported: bool) -> ClassSurface:
    surface = ClassSurface(node.name, exported)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            surface.fields.append(item.target.id)
        elif isinstance(item, ast.Assign):
            surface.fields += [target.id for target in item.targets if isinstance(target, ast.Name)]
        elif isinstance(item, ast.FunctionDef):
            _enter_function(surface, item)
    surface.fields = [name for name in surface.fields if not name.startswith("_")]
    return surface


def _enter_function(surface: ClassSurface, function: ast.FunctionDef) -> None:
    decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
    if any(decorator.endswith(".setter") for decorator in decorators):
        return
    if "property" in decorators:
        surface.properties.append(function.name)
        return
    if function.name == "__init__":
        surface.attributes += _set_on_self(function)
    if not function.name.startswith("_") or function.name in ("__init__", "__call__"):
        names = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
        surface.methods[function.name] = names if "staticmethod" in decorators else names[1:]


def _set_on_self(function: ast.FunctionDef) -> list[str]:
    names = []
    for node in ast.walk(function):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            is_own = isinstance(target, ast.Attribute) and getattr(target.value, "id", None) == "self"
            if is_own and not target.attr.startswith("_"):
                names.append(target.attr)
    return sorted(set(names))
