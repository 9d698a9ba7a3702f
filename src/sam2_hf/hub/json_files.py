"""JSON files of a folder or of a repository on the Hub, looked at before somebody loads what they describe."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
"""The arguments of `from_pretrained` that say where and how to look."""


def read_json(source: Any, filename: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Read a JSON file of a folder or Hub repository.

    What is wrong with `source` is left to the caller's own look at it, which has the better error.

    Args:
        source: a folder or a name on the Hub.
        filename: of the file in it.
        arguments: those of `from_pretrained`, of which `HUB_ARGUMENTS` are read.

    Returns:
        Its content; empty if there is no such file.
    """
    from transformers.utils import cached_file

    options = {name: arguments[name] for name in HUB_ARGUMENTS if arguments.get(name) is not None}
    options |= {
        f"_raise_exceptions_for_{what}": False for what in ("gated_repo", "missing_entries", "connection_errors")
    }
    if os.path.isfile(source):
        return {}
    try:
        path = cached_file(source, filename, **options)
        return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
