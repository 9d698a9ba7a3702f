"""A run over any number of images and clips, which can be stopped at any time and resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..hub.bundled import bundled_checkpoint
from ..version import __version__
from .open_source import open_source
from .optional_libraries import import_pyarrow
from .shard_job import Outcome, ShardJob
from .shard_store import Shard, ShardStore, divide
from .sources import Source
from .summary import Progress, RunSummary
from .worker import Worker

ROWS_A_SHARD = 64
_OF_A_MODEL = (".json", ".safetensors")


def run(
    source: Any,
    out: str | os.PathLike[str],
    worker: Worker | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    split: str = "train",
    rows_a_shard: int = ROWS_A_SHARD,
    workers: int | None = None,
    threads: int = 1,
    address: str | None = None,
    gpus_a_worker: float | None = None,
    max_attempts: int = 3,
    retry_errors: bool = False,
    verify: bool = False,
    progress: bool = False,
    is_interrupted: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> RunSummary:
    """Segment images and track through clips, and write the results as Parquet.

    The rows are divided into shards, which do not depend on each other. Each is written whole or not at all. Called
    again after it was killed, a run computes what is not finished, and the folder is byte for byte that of a run that
    nothing interrupted, on whatever processes it is continued, with the same kind of processor.

    Args:
        source: images and clips; see `open_source.open_source`.
        out: the folder of the run, on storage that all machines share. See `shard_store` for what is in it.
        worker: computes rows; by default a `Worker` of the `settings`.
        columns: what the columns of tables are called, by the names of `rows.COLUMNS`.
        split: of a data set that has several.
        rows_a_shard: rows in each Parquet file. What is being computed when a run is killed is lost, so clips want
            fewer than images.
        workers: processes; by default one for each GPU, or else for each core that `threads` leaves. 0 computes in this
            process.
        threads: of torch in each process.
        address: of a Ray cluster, or "local" for Ray on this machine; None for processes on this machine without Ray.
        gpus_a_worker: on a Ray cluster; by default 1 where it has GPUs.
        max_attempts: how many processes may die of a shard before it is given up.
        retry_errors: whether shards with rows that failed are computed again.
        verify: whether the files of finished shards are read and their hashes compared.
        progress: whether a bar shows the rows, their rate, the time left and the failures.
        is_interrupted: asked now and then; where it is True, what is begun is finished, and no more is begun.
        settings: of `Worker`, such as `checkpoint` or `prompts`.

    Returns:
        What has been done: `print(summary)`. Rows that failed have their reason in the column `error`.

    Raises:
        ValueError, TypeError: naming what is wrong, or the folder is that of another run, or in use.
        OSError: the source or the checkpoint cannot be found, or the disk is full. What is finished is kept.
        MachineError: the storage or the device failed.
        ImportError: pyarrow or Ray is not installed.
    """
    if worker is not None and settings:
        raise TypeError(f"settings belong to the worker that is given: {', '.join(settings)}")
    for name, value in (("rows_a_shard", rows_a_shard), ("threads", threads), ("max_attempts", max_attempts)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    worker = worker or Worker(**settings)
    opened = open_source(source, worker.kind, columns, split)
    store = ShardStore(out)
    job = ShardJob(opened, worker, store, threads)
    store.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(store.folder / ".lock", timeout=0):
            store.open(_identity(opened, worker, rows_a_shard, threads))
            store.remove_temporary_files()
            try:
                shards = divide(len(opened), rows_a_shard)
                summary = RunSummary(len(opened), len(shards))
                left = _left(store, shards, summary, retry_errors, verify)
                rows_left = sum(shard.stop - shard.start for shard in left)
                with Progress(summary, rows_left, progress) as shown:
                    for outcome in _outcomes(job, left, workers, address, gpus_a_worker, max_attempts, is_interrupted):
                        shown.add(outcome)
                return summary
            finally:
                store.remove_temporary_files()
    except Timeout as error:
        raise ValueError(f"{store.folder} is in use by another run") from error


def _identity(source: Source, worker: Worker, rows_a_shard: int, threads: int) -> dict[str, Any]:
    """What the results depend on."""
    versions = {"sam2_hf": __version__, "torch": version("torch"), "pyarrow": import_pyarrow().__version__}
    return {
        "rows": len(source),
        "source": source.fingerprint(),
        "rows_a_shard": rows_a_shard,
        "threads": threads,
        "worker": worker.described(),
        "checkpoint": _checkpoint_files(worker.checkpoint),
        "versions": versions,
    }


def _checkpoint_files(checkpoint: str | None) -> dict[str, int] | None:
    """The files of a checkpoint's folder with their sizes; None for one on the Hub."""
    folder = Path(bundled_checkpoint() if checkpoint is None else checkpoint)
    if not folder.is_dir():
        return None
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.suffix in _OF_A_MODEL}


def _left(store: ShardStore, shards: list[Shard], summary: RunSummary, retry_errors: bool, verify: bool) -> list[Shard]:
    """The shards that are not finished; the summary counts the others."""
    left = []
    for shard in shards:
        manifest = store.finished(shard, verify)
        if manifest is None or (retry_errors and manifest["errors"]):
            store.forget(shard)
            left.append(shard)
        else:
            summary.add_finished(manifest)
    return left


def _outcomes(
    job: ShardJob,
    shards: list[Shard],
    workers: int | None,
    address: str | None,
    gpus_a_worker: float | None,
    max_attempts: int,
    is_interrupted: Callable[[], bool],
) -> Iterator[Outcome]:
    """Compute shards where they are to be computed."""
    if not shards:
        return
    if address is not None:
        from .ray_cluster import run_on_ray

        outcomes = run_on_ray(job, shards, address, workers, gpus_a_worker, max_attempts)
    elif workers == 0:
        outcomes = job.run_here(shards)
    else:
        from .process_pool import run_in_processes

        devices = choose_devices(job.worker.device, workers, job.threads)
        yield from run_in_processes(job, shards, devices, max_attempts, is_interrupted)
        return
    for outcome in outcomes:
        yield outcome
        if is_interrupted():
            return


def choose_devices(device: str | None, workers: int | None, threads: int) -> list[str | None]:
    """Choose a device for each process: the GPUs in turn, or what is asked for.

    Args:
        device: what is asked for; None for a GPU where there is one.
        workers: how many processes; None for one a GPU, or else as many as the cores allow.
        threads: of each process.

    Raises:
        ValueError: a negative number of processes.
    """
    if workers is not None and workers < 0:
        raise ValueError(f"workers must not be negative, got {workers}")
    gpus = _list_gpus() if device in (None, "cuda") else []
    if gpus:
        return [gpus[number % len(gpus)] for number in range(workers or len(gpus))]
    is_cpu = device in (None, "cpu")
    return [device] * (workers or (max(1, count_cores() // threads) if is_cpu else 1))


def _list_gpus() -> list[str | None]:
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
