"""The names of SAM 2 in `transformers`, as long as they mean our classes."""

from __future__ import annotations

import functools
import gc
import importlib
from collections.abc import Callable
from typing import Any

_ROOT = (__package__ or "").removesuffix(".hub")

_restore: list[Callable[[], None]] = []


def replace_in_transformers() -> None:
    """Make the names of SAM 2 in `transformers` mean our classes: `from transformers import Sam2Model` gives ours.

    That holds for modules that are imported later and, where they wrote `transformers.Sam2Model` and kept no copy, for
    earlier ones. Transformers' own modules (`transformers.models.sam2`) stay as they are. `unregister` undoes it, and
    calling it again changes nothing.
    """
    if _restore:
        return
    import transformers

    package = importlib.import_module(_ROOT)
    package.register()
    exported = {name: getattr(package, name) for name in package.__all__ if name.startswith("Sam2")}
    ours = {name: exported[name] for name in exported.keys() & set(dir(transformers))}
    ours["Sam2ImageProcessorFast"] = exported["Sam2ImageProcessor"]  # a former name, which is not listed any more
    lazy = type(transformers)
    original = lazy.__getattr__

    @functools.wraps(original)
    def __getattr__(self: Any, name: str) -> Any:
        return ours[name] if name in ours and self.__name__ == "transformers" else original(self, name)

    # Transformers makes its module anew now and then, so the class of the module is changed, and not one module; and
    # what its modules have looked up before is put aside.
    looked_up = []
    for module in gc.get_objects():
        if type(module) is lazy and module.__name__ == "transformers":
            names = vars(module)
            looked_up.append((names, {name: names.pop(name) for name in ours.keys() & names.keys()}))
    lazy.__getattr__ = __getattr__

    def undo() -> None:
        lazy.__getattr__ = original
        for names, values in looked_up:
            names.update(values)

    _restore.append(undo)


def restore() -> None:
    """Undo `replace_in_transformers`."""
    while _restore:
        _restore.pop()()
