"""Code run in a Python of its own: for tests of what an import does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src"
WITHOUT_PACKAGE = "import sys; sys.modules['sam2_hf'] = None"
"""First line of code that shall not find the package, though it may be installed."""


def run_fresh(code: str, **environment: str) -> Any:
    """Runs `code` offline, with the package and the tests' helpers on its path; returns its last line, read as JSON."""
    path = [str(SOURCE), str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    flags = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
