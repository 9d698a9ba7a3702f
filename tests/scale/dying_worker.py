"""A worker that takes its process with it, for tests of what becomes of the shard."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sam2_hf.scale import Worker
from sam2_hf.scale.rows import Row
from sam2_hf.scale.worker import Rows


@dataclass(frozen=True)
class DyingWorker(Worker):
    """Ends its process at the row `fatal`, as often as there are files in the folder `deaths`, and removes one."""

    fatal: str = ""
    deaths: str = ""

    def compute(self, rows: Iterable[Row]) -> Iterator[Rows]:
        """Compute rows, up to the fatal one."""
        return super().compute(map(self._survive, rows))

    def _survive(self, row: Row) -> Row:
        if row.id == self.fatal:
            for path in Path(self.deaths).iterdir():
                path.unlink()
                os._exit(9)
        return row
