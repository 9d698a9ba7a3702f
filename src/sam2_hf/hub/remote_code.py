"""The package's code beside a checkpoint, so that `trust_remote_code=True` loads it without the package.

Transformers follows relative imports between files of one folder alone. So the code is written flat: module `a/b.py`
becomes `a_b.py`, its relative imports are rewritten, and only what the saved classes reach is written. In code that was
loaded in this way the same applies again, since flat names stay as they are.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

_ROOT = (__package__ or "").removesuffix(".hub")
"""The package that holds all of the code: `sam2_hf`, or the folder that transformers made for flat files."""

ENTRY_MODULES = {
    "sam2_image": {
        "Sam2Config": "configuration_sam2",
        "Sam2VisionConfig": "configuration_vision",
        "Sam2Model": "modeling_sam2",
        "Sam2VisionModel": "modeling_sam2",
        "Sam2Processor": "processing_sam2",
        "Sam2ImageProcessor": "image_processing_sam2",
    },
    "sam2_video": {
        "Sam2VideoConfig": "configuration_sam2",
        "Sam2VideoModel": "modeling_sam2_video",
        "Sam2VideoProcessor": "processing_sam2_video",
        "Sam2VideoVideoProcessor": "video_processing_sam2",
        "Sam2ImageProcessor": "image_processing_sam2",
    },
}
"""The module that a checkpoint names, for images and for videos: its classes and where they are defined.

One module for all classes, so that model and processor share theirs. Transformers loads each module that a folder
names, and what it imports, into a package of its own; a prompt from one package would be of an unknown class in the
other.
"""


class SavesItsCode:
    """Mixin for classes of transformers: what is saved carries its code, if the class was registered for that.

    It goes before the base class of transformers. Registering an auto class is public API of transformers, which
    would then copy files by itself; it finds those of one folder alone, so it is not told.
    """

    _auto_class: ClassVar[str | None] = None
    _auto_classes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type | None = None) -> None:
        """Have whatever is saved of this class carry the code that an Auto class loads it with.

        A subclass in another package is saved as transformers does it: its own file is copied.

        Args:
            auto_class: name or class, by default the Auto class that its kind of object has. A second call adds a
                second one.

        Raises:
            ValueError: for a name that is no Auto class, and for a class that no checkpoint is loaded with.
        """
        if _module_of(cls) is not None and _entry_module(cls) is None:
            raise ValueError(f"the code of {cls.__name__} cannot be saved; expected one of {_loadable()}")
        super().register_for_auto_class(*([] if auto_class is None else [auto_class]))  # type: ignore[misc]
        if _module_of(cls) is not None:
            cls._auto_classes = tuple(dict.fromkeys((*cls._auto_classes, str(cls._auto_class))))
            cls._auto_class = None

    @classmethod
    def saves_its_code(cls) -> bool:
        """Whether the class was registered, and is not a subclass elsewhere."""
        return bool(cls._auto_classes) and _entry_module(cls) is not None

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Save as transformers does, and the code beside it if the class was registered for that."""
        registered = [part for part in _saved_parts(self) if part.saves_its_code()]
        for part in registered:
            # The configuration speaks for the model.
            holder: Any = getattr(part, "config", part)
            reference = f"{_entry_module(type(self)) or _entry_module(type(part))}.{type(part).__name__}"
            given = getattr(holder, "auto_map", None) or {}
            holder.auto_map = {**given, **dict.fromkeys(part._auto_classes, reference)}
        result = super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
        if registered and kwargs.get("is_main_process", True):
            write_code(type(self), save_directory)
        return result

    def _upload_modified_files(self, working_dir: Any, *args: Any, **kwargs: Any) -> Any:
        # Within `save_pretrained(push_to_hub=True)`, this comes between saving and uploading.
        if any(part.saves_its_code() for part in _saved_parts(self)):
            write_code(type(self), working_dir)
        return super()._upload_modified_files(working_dir, *args, **kwargs)  # type: ignore[misc]


def _saved_parts(saved: Any) -> Iterator[SavesItsCode]:
    """The object itself and, of a processor, its parts, which are saved in the same file."""
    yield saved
    names = saved.get_attributes() if hasattr(saved, "get_attributes") else ()
    yield from (part for name in names if isinstance(part := getattr(saved, name, None), SavesItsCode))


def _module_of(cls: type) -> str | None:
    """A class's module without the name of the package; None for a class of another package."""
    inside = cls.__module__.startswith(f"{_ROOT}.")
    return cls.__module__.removeprefix(f"{_ROOT}.") if inside else None


def _entry_module(cls: type) -> str | None:
    """The module that checkpoints name for a class; None for a class that no checkpoint is loaded with."""
    where = (cls.__name__, _module_of(cls))
    return next((name for name, classes in ENTRY_MODULES.items() if where in classes.items()), None)


def _loadable() -> list[str]:
    return sorted({name for classes in ENTRY_MODULES.values() for name in classes})


def write_code(cls: type, folder: str | Path) -> list[Path]:
    """Write the code that a class and its partners are loaded with into a folder, flat.

    Args:
        cls: a class of `ENTRY_MODULES`.
        folder: an existing folder. Files of the same names are replaced.

    Returns:
        The files written.

    Raises:
        ValueError: for another class, and what `flatten` raises.
    """
    entry = _entry_module(cls)
    if entry is None:
        raise ValueError(f"cls must be one of {_loadable()} of {_ROOT}, got {cls.__module__}.{cls.__qualname__}")
    classes = ENTRY_MODULES[entry]
    imports = "".join(f"from .{module} import {name}\n" for name, module in classes.items())
    text = (
        f'"""What this checkpoint is loaded with by `trust_remote_code=True`."""\n\n{imports}\n__all__ = {[*classes]}\n'
    )
    root = Path(sys.modules[cls.__module__].__file__ or "").parent
    files = {f"{entry}.py": text.encode(), **flatten(root, classes.values())}
    for name, content in files.items():
        (Path(folder) / name).write_bytes(content)
    return [Path(folder) / name for name in files]


def flatten(root: Path, entries: Iterable[str]) -> dict[str, bytes]:
    """Make flat files of some modules of a package and of all that they import from it.

    Imports in functions count, those under `TYPE_CHECKING` are left out: nothing needs them when the code runs.

    Args:
        root: the package's folder.
        entries: modules by dotted names without that of the package, such as "hub.remote_code".

    Returns:
        File names and contents.

    Raises:
        ValueError: for an import that has no flat form, naming file and line, and for two modules of the same flat
            name.
    """
    files: dict[str, bytes] = {}
    module_of: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        name = f"{_flat(module)}.py"
        if module_of.setdefault(name, module) != module:
            raise ValueError(f"modules {module_of[name]!r} and {module!r} would both become {name}")
        if name not in files:
            source = _Source.read(root, module)
            files[name] = source.rewritten()
            waiting += [found.target for found in source.imports if found.target is not None]
    return files


def _flat(module: str) -> str:
    return module.replace(".", "_")


class _Import(NamedTuple):
    """A relative import: the bytes it takes, and the module it names, None if it is for type checkers alone."""

    start: int
    stop: int
    target: str | None


class _Source(NamedTuple):
    """A module's text and the relative imports in it."""

    text: bytes
    imports: list[_Import]

    @classmethod
    def read(cls, root: Path, module: str) -> _Source:
        path = root / f"{module.replace('.', '/')}.py"
        is_package = not path.is_file()
        if is_package:
            path = root / module.replace(".", "/") / "__init__.py"
        text = path.read_bytes()
        package = module.split(".") if is_package else module.split(".")[:-1]
        starts = [0]
        for line in text.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        imports = []
        for node, for_types in _relative_imports(ast.parse(text, str(path)), False):
            start = starts[node.lineno - 1] + node.col_offset
            stop = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
            target = None if for_types else _target(node, root, path, package)
            imports.append(_Import(start, stop, target))
        return cls(text, imports)

    def rewritten(self) -> bytes:
        """The text with flat imports, otherwise unchanged to the byte."""
        text = self.text
        for found in sorted(self.imports, reverse=True):
            statement = b"pass  # an import for type checkers"
            if found.target is not None:
                flat = f"from .{_flat(found.target)} import".encode()
                statement = re.sub(rb"\Afrom[\s\\]*\.[\s\\.\w]*?[\s\\]import\b", flat, text[found.start : found.stop])
            text = text[: found.start] + statement + text[found.stop :]
        return text


def _relative_imports(node: ast.AST, for_types: bool) -> Iterator[tuple[ast.ImportFrom, bool]]:
    """Every relative import below a node, and whether it is under `TYPE_CHECKING`."""
    for name, value in ast.iter_fields(node):
        types_alone = for_types or (
            isinstance(node, ast.If) and name == "body" and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"
        )
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.ImportFrom) and child.level:
                yield child, types_alone
            elif isinstance(child, ast.AST):
                yield from _relative_imports(child, types_alone)


def _target(node: ast.ImportFrom, root: Path, path: Path, package: list[str]) -> str:
    """The module that a relative import names, dotted, without the name of the package."""
    where = f"{path}, line {node.lineno}"
    if node.level - 1 > len(package):
        raise ValueError(f"{where}: the import leaves {root}")
    base = package[: len(package) - (node.level - 1)]
    parts = [*base, *(node.module or "").split(".")]
    if not node.module or any((root.joinpath(*parts) / f"{alias.name}.py").is_file() for alias in node.names):
        raise ValueError(f"{where}: a module is imported by `from . import`; import names from the module")
    if not (root.joinpath(*parts[:-1]) / f"{parts[-1]}.py").is_file() and not root.joinpath(*parts).is_dir():
        raise ValueError(f"{where}: there is no module {'.'.join(parts)!r} in {root}")
    return ".".join(parts)
