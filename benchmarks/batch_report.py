"""What the measurements of large runs share: seconds of the processor, and rows of a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object]) -> float:
    """Seconds that this process computes for a piece of work, all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def say(*cells: str) -> None:
    """Print a row of a Markdown table at once, so that long measurements show where they are."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()
