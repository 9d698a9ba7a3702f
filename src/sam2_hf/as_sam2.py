"""Puts Meta's API under the name `sam2`, so that programs written for it run without a change.

`import sam2_hf.as_sam2` before the program imports `sam2`; or, without touching the program,

    python -m sam2_hf.as_sam2 script.py ARGS…
    python -m sam2_hf.as_sam2 -m module ARGS…
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from . import official
from .hub.import_hooks import when_imported

NAME = "sam2"


def install() -> ModuleType:
    """Makes `sam2` and its modules those of `sam2_hf.official`.

    Returns:
        The package that `import sam2` gives from now on.

    Raises:
        ImportError: if another `sam2` is imported already.
    """
    there = sys.modules.get(NAME)
    if there is not None and there is not official:
        raise ImportError(
            f"another package is imported as {NAME!r} already, from {getattr(there, '__file__', 'an unknown place')}: "
            "import sam2_hf.as_sam2 before anything imports it"
        )
    sys.modules[NAME] = official
    for found in pkgutil.walk_packages(official.__path__, f"{official.__name__}."):
        module = importlib.import_module(found.name)
        sys.modules[NAME + found.name.removeprefix(official.__name__)] = module
    when_imported("hydra", _find_configurations)
    return official


def _find_configurations(hydra: ModuleType) -> None:
    """Lets `hydra.compose` find the files in `configs`, as it does where Meta's package is imported."""
    compose = hydra.compose

    @functools.wraps(compose)
    def composed(*args: Any, **kwargs: Any) -> Any:
        if not hydra.core.global_hydra.GlobalHydra.instance().is_initialized():
            hydra.initialize_config_module(NAME, version_base="1.2")
        return compose(*args, **kwargs)

    hydra.compose = composed  # type: ignore[attr-defined]


def main(arguments: Sequence[str]) -> None:
    """Runs a program: a script or `-m` and a module, and its arguments."""
    if not arguments or arguments == ["-m"]:
        raise SystemExit("usage: python -m sam2_hf.as_sam2 (script.py | -m module) [arguments]")
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


install()

if __name__ == "__main__":
    main(sys.argv[1:])
