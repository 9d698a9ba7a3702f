"""Shards on a cluster, or on this machine, by Ray Data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .failures import describe
from .optional_libraries import import_ray_data
from .shard_job import Outcome, ShardJob
from .shard_store import Shard

LOCAL = "local"


def run_on_ray(
    job: ShardJob,
    shards: Sequence[Shard],
    address: str,
    workers: int | None = None,
    gpus_a_worker: float | None = None,
    max_attempts: int = 3,
) -> Iterator[Outcome]:
    """Compute shards by actors of Ray, which write them to storage that all machines share.

    Args:
        job: what is done.
        shards: in the order in which they are begun.
        address: of the cluster, as `ray.init` takes it; "local" starts Ray on this machine.
        workers: how many actors; by default as many as there are GPUs, or else CPU cores.
        gpus_a_worker: by default 1 where the cluster has GPUs, else 0.
        max_attempts: how many actors may die of a shard before it is given up.

    Returns:
        What became of each, as they end.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
        RuntimeError: what a shard raised.
    """
    data = import_ray_data()
    import ray  # type: ignore[import-not-found, unused-ignore]

    was_running = ray.is_initialized()
    if not was_running:
        ray.init(address=address, log_to_driver=False)
    context = data.DataContext.get_current()
    before = context.max_errored_blocks, context.enable_progress_bars
    # A block that is given up must not end the run: its shards are told from those that came.
    context.max_errored_blocks, context.enable_progress_bars = -1, False
    try:
        resources = ray.cluster_resources()
        gpus = gpus_a_worker if gpus_a_worker is not None else float("GPU" in resources)
        count = workers or _default_workers(resources, gpus, job.threads)
        waiting = {shard.number: shard for shard in shards}
        rows = [{"number": shard.number, "start": shard.start, "stop": shard.stop} for shard in shards]
        results = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardActor,
            fn_constructor_args=(ray.put(job),),
            batch_size=1,
            # One shard at a time, so that an actor that dies takes no other shard with it.
            compute=data.ActorPoolStrategy(size=min(count, len(rows)), max_tasks_in_flight_per_actor=1),
            max_task_retries=max_attempts - 1,
            **({"num_gpus": gpus} if gpus else {"num_cpus": job.threads}),
        )
        for row in results.iter_rows():
            if row["error"]:
                raise RuntimeError(row["error"])
            shard = waiting.pop(row["number"])
            yield Outcome(shard, job.store.finished(shard), "its file is not where this process looks for it")
        for shard in waiting.values():
            yield Outcome(shard, None, f"{max_attempts} processes died of it")
    finally:
        context.max_errored_blocks, context.enable_progress_bars = before
        if not was_running:
            ray.shutdown()


class ShardActor:
    """Computes shards in an actor of Ray.

    Args:
        job: a reference to the `ShardJob`, or itself.
    """

    def __init__(self, job: Any):
        import ray

        self._job: ShardJob = ray.get(job) if isinstance(job, ray.ObjectRef) else job
        self._job.prepare_process()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Compute the shards of a batch.

        Returns:
            Their numbers, and what they raised: it would be retried if it were raised here.
        """
        numbers, errors = batch["number"], []
        for number, start, stop in zip(numbers, batch["start"], batch["stop"], strict=True):
            try:
                self._job.run(Shard(int(number), int(start), int(stop)))
                errors.append("")
            except Exception as error:  # goes to the driver, which raises it
                errors.append(describe(error))
        return {"number": list(map(int, numbers)), "error": errors}


def _default_workers(resources: dict[str, float], gpus: float, threads: int) -> int:
    if gpus:
        return max(1, int(resources.get("GPU", 1) / gpus))
    return max(1, int(resources.get("CPU", 1)) // threads)
