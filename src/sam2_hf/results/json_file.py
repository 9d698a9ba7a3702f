"""JSON files of results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def written_json(content: dict[str, Any], path: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Write JSON where a path is given, and give the content back."""
    if path is not None:
        Path(path).write_text(json.dumps(content, default=str), encoding="utf-8")
    return content
