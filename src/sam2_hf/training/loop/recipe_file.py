"""Recipes from YAML files, read with PyYAML and checked by pydantic; both come with the extra `train`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from .recipe import Recipe

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# What pydantic calls a value of the wrong container, and what the file should hold.
_CONTAINERS = {"tuple_type": "a list", "dict_type": "a mapping"}


def load_recipe(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: the file.
        changes: replacements of single values, as "stages.0.arguments.max_steps=10": the keys that lead to a value,
            and the value in YAML.

    Returns:
        The recipe; its `folder` is that of the file.

    Raises:
        ImportError: if PyYAML or pydantic is missing.
        ValueError: names the key of the first value that is wrong.
    """
    yaml, pydantic = _libraries()
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for change in changes:
        _change(content, change, yaml.safe_load)
    if not isinstance(content, Mapping):
        raise ValueError(f"{os.fspath(path)} must hold a mapping, got {type(content).__name__}")
    # The settings of a pydantic model hold for the plain dataclasses in it: unknown keys are errors in all of them.
    checked = pydantic.create_model("RecipeFile", __config__={"extra": "forbid"}, recipe=(Recipe, ...))
    try:
        return checked(recipe={"folder": str(Path(path).parent), **content}).recipe
    except pydantic.ValidationError as error:
        # Of what is wrong, the deepest value first: what is around it is often wrong because of it.
        details = max(error.errors(), key=lambda detail: len(detail["loc"]))
        raise ValueError(_describe(details, os.path.basename(path))) from error


def _libraries() -> tuple[Any, Any]:
    try:
        import pydantic
        import yaml
    except ImportError as error:
        raise ImportError('recipes need PyYAML and pydantic: pip install "sam2-hf[train]"') from error
    return yaml, pydantic


def _change(content: Any, change: str, read_value: Any) -> None:
    """Set one value in nested mappings and lists."""
    path, separator, value = change.partition("=")
    *parents, last = (int(part) if part.isdigit() else part for part in path.strip().split("."))
    if not separator:
        raise ValueError(f"a change must be PATH=VALUE, as seed=1, got {change!r}")
    target = content
    try:
        for part in parents:
            target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
        target[last] = read_value(value)
    except (IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not exist in the recipe, and so cannot be changed") from error


def _describe(details: ErrorDetails, file: str) -> str:
    """Name the key that is wrong, what was expected and what came."""
    keys = details["loc"][1:]  # after "recipe"
    *parents, last = keys or ("",)
    kind, value = details["type"], details["input"]
    parent, where = _join(file, parents), _join(file, keys)
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = ", ".join(entry.name for entry in fields(_class_at(parents)))
        return f"{parent} has no {last!r}; known are {known}"
    if kind in ("missing", "missing_argument"):
        return f"{parent} needs {last!r}"
    if kind == "dataclass_type":
        return f"{where} must be a mapping with keys of {details['ctx']['class_name']}, got {value!r}"
    if kind in _CONTAINERS:
        return f"{where} must be {_CONTAINERS[kind]}, got {value!r}"
    if kind == "value_error":
        return f"{where}: {details['ctx']['error']}"
    return f"{where}: {details['msg']}, got {value!r}"


def _join(file: str, keys: Sequence[int | str]) -> str:
    return file + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def _class_at(keys: Sequence[int | str]) -> Any:
    """The class whose fields are the keys of a mapping in the file."""
    hint: Any = Recipe
    for key in keys:
        hint = get_type_hints(hint)[key] if isinstance(key, str) else hint
        # Out of `tuple[X, ...]` and `X | None`, as often as one is in the other.
        while not is_dataclass(hint) and get_args(hint):
            hint = get_args(hint)[0]
    return hint
