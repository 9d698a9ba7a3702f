"""Shards in processes of this machine. Each has one model; one that dies takes nothing with it but its own shard."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection

from .shard_job import Outcome, ShardJob
from .shard_store import Shard

_SECONDS_BETWEEN_LOOKS = 0.5
_MOST_STARTS = 5


def run_in_processes(
    job: ShardJob,
    shards: Sequence[Shard],
    devices: Sequence[str | None],
    max_attempts: int = 3,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Compute shards, each by the process that is free.

    Args:
        job: what is done.
        shards: in the order in which they are begun.
        devices: one for each process; None leaves the choice to the worker.
        max_attempts: how many processes may die of a shard before it is given up.
        is_interrupted: asked now and then; where it is True, no further shard is begun.

    Returns:
        What became of each, as they end.

    Raises:
        MachineError, OSError: as `ShardJob.run`; what other processes are computing is then lost.
    """
    waiting = deque(shards)
    attempts: Counter[Shard] = Counter()
    slots = [_Slot(job.on_device(device)) for device in devices[: len(shards)]]
    running: dict[Future[Outcome], tuple[_Slot, Shard]] = {}
    free = list(slots)
    try:
        while running or (waiting and not is_interrupted()):
            while free and waiting and not is_interrupted():
                slot, shard = free.pop(), waiting.popleft()
                running[slot.start(shard)] = slot, shard
            done, _ = wait(running, _SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            for future in done:
                slot, shard = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    slot.close()
                    attempts[shard] += 1
                    outcome = Outcome(shard, None, f"{attempts[shard]} processes died of it")
                    if attempts[shard] < max_attempts:
                        waiting.appendleft(shard)
                        free.append(slot)
                        continue
                free.append(slot)
                yield outcome
    finally:
        busy = [slot for slot, _ in running.values()]
        for slot in slots:
            slot.close(at_once=slot in busy)


class _Slot:
    """One process at a time, which is replaced when it dies."""

    def __init__(self, job: ShardJob):
        self._job = job
        self._executor: ProcessPoolExecutor | None = None
        self._line: Connection | None = None

    def start(self, shard: Shard) -> Future[Outcome]:
        """Have the process compute a shard. One that died since its last shard, or while it is started, is replaced.

        Raises:
            BrokenProcessPool, OSError: no process lives long enough to be given a shard.
        """
        for _ in range(_MOST_STARTS - 1):
            try:
                return self._submit(shard)
            except (BrokenProcessPool, BrokenPipeError, ConnectionResetError):
                self.close(at_once=True)
        return self._submit(shard)

    def _submit(self, shard: Shard) -> Future[Outcome]:
        if self._executor is not None:
            return self._executor.submit(_run, shard)
        context = multiprocessing.get_context("spawn")
        held_there, self._line = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(1, context, _begin, (self._job, held_there))
        try:
            return self._executor.submit(_run, shard)
        finally:
            held_there.close()  # the process has its own

    def close(self, at_once: bool = False) -> None:
        """End the process: when it has nothing to do, or at once, whatever it does."""
        if self._executor is None or self._line is None:
            return
        if at_once:
            self._line.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._line.close()
        self._executor = self._line = None


_job: ShardJob | None = None  # of this process


def _begin(job: ShardJob, line: Connection) -> None:
    """Make a new process ready. It ends when the other end of the line is closed, by intent or because that process is
    no more, even if it was killed."""
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the one that started them decides
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    job.prepare_process()
    _job = job


def _end_with(line: Connection) -> None:
    with suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(1)


def _run(shard: Shard) -> Outcome:
    assert _job is not None
    return _job.run(shard)
