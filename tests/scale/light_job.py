"""A job that needs no model, for tests of processes: it starts in a fraction of a second."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from sam2_hf.scale.shard_job import Outcome
from sam2_hf.scale.shard_store import Shard


@dataclass(frozen=True)
class LightJob:
    """Names its process for each shard. The process ends in the shard `fatal`, or soon after `last`."""

    fatal: int = -1
    last: int = -1

    def on_device(self, device: str | None) -> LightJob:
        """Nothing runs on a device."""
        return self

    def prepare_process(self) -> None:
        """Nothing is to be prepared."""

    def run(self, shard: Shard) -> Outcome:
        """Compute nothing."""
        if shard.number == self.fatal:
            os._exit(9)
        if shard.number == self.last:
            threading.Timer(0.05, os._exit, (9,)).start()
        return Outcome(shard, {"process": os.getpid()})
