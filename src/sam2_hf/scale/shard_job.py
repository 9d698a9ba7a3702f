"""What a process does with a shard: reads its rows, computes them, writes its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .shard_store import Shard, ShardStore
from .sources import Source
from .worker import Worker


class Outcome(NamedTuple):
    """What became of a shard.

    Attributes:
        shard: the shard.
        manifest: that of the store; None where the shard failed.
        error: why it failed.
    """

    shard: Shard
    manifest: dict[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class ShardJob:
    """All that a process needs; it can be pickled.

    Attributes:
        source: where rows come from.
        worker: computes them.
        store: where results go.
        threads: of torch in each process; results depend on it where sums are formed in another order.
    """

    source: Source
    worker: Worker
    store: ShardStore
    threads: int

    def on_device(self, device: str | None) -> ShardJob:
        """The same on another device."""
        return replace(self, worker=replace(self.worker, device=device)) if device is not None else self

    def prepare_process(self) -> None:
        """Set up what belongs to the whole process, so that it computes what any other one would."""
        self.worker.prepare_process(self.threads)

    def run(self, shard: Shard) -> Outcome:
        """Compute a shard, unless it is finished.

        Raises:
            MachineError, OSError: the machine failed, or the checkpoint cannot be found.
        """
        manifest = self.store.finished(shard)
        if manifest is None:
            rows = self.source.read(shard.start, shard.stop)
            manifest = self.store.write(shard, self.worker.compute(rows))
        return Outcome(shard, manifest)

    def run_here(self, shards: list[Shard]) -> Iterator[Outcome]:
        """Compute shards in this process, one after the other, as any other process would; its settings stay."""
        import torch

        for shard in shards:
            before = torch.get_num_threads()
            torch.set_num_threads(self.threads)
            try:
                with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
                    outcome = self.run(shard)
            finally:
                torch.set_num_threads(before)
            yield outcome
