"""Command and environment of the processes that do the work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore",
}


def environment() -> dict[str, str]:
    """This process's environment, with the package and the benchmarks on the path, offline, without progress bars."""
    path = [str(_ROOT / "src"), str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **_QUIET, "PYTHONPATH": os.pathsep.join(path)}


def python(*arguments: str) -> list[str]:
    """The command that runs this Python interpreter with some arguments."""
    return [sys.executable, *arguments]
