"""What a run of many rows costs beside the computing, and what a second process gives.

    python -m benchmarks.batch_rate --images 400 --clips 10 --rounds 5

*Overhead*: the CPU time of `sam2_hf.scale.run` in this process over that of a plain loop that calls the worker on the
same rows in the same batches and keeps the tables. Both run in turns. *Driver*: the CPU time of the process that starts
a worker, beside that of the worker. *Two workers*: rows a second of two processes over those of one, both without their
starts; a machine that is busy with other things does not tell it.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sam2_hf.scale import Worker, run
from sam2_hf.scale.open_source import open_source
from sam2_hf.scale.result_table import to_table
from sam2_hf.scale.shard_store import divide

from .batch_report import cpu_seconds, say
from .batch_rows import IMAGE_SIZE, ROWS_A_SHARD, draw_rows

_PROMPTS = {"object": {"points": [[48, 48]]}}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpoint", help="a folder or a name on the Hub; the bundled one by default")
    parser.add_argument("--image-size", type=int, default=IMAGE_SIZE)
    parser.add_argument("--only", nargs="+", choices=("overhead", "driver", "workers"), default=[])
    options = parser.parse_args(arguments)
    wanted = options.only or ["overhead", "driver", "workers"]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        draw_rows(Path(folder), options.images, options.clips, 0.0, 0)
        rows = options.images + options.clips
        worker = Worker(options.checkpoint, "cpu", image_size=options.image_size, prompts=_PROMPTS)
        say("measured", "figure")
        say("---", "---")
        if "overhead" in wanted:
            _overhead(worker, rows, options.rounds)
        if "driver" in wanted:
            _driver(worker, rows)
        if "workers" in wanted:
            _two_workers(worker, rows)
        os.chdir("/")
    return 0


def _overhead(worker: Worker, rows: int, rounds: int) -> None:
    source = open_source("rows")

    def loop() -> None:
        for shard in divide(len(source), ROWS_A_SHARD):
            found = worker.compute(source.read(shard.start, shard.stop))
            to_table([values for part in found for values in part])

    def whole_run() -> None:
        with tempfile.TemporaryDirectory() as out:
            run("rows", out, worker, rows_a_shard=ROWS_A_SHARD, workers=0)

    loop()
    pairs = [(cpu_seconds(loop), cpu_seconds(whole_run)) for _ in range(rounds)]
    ratios = sorted(whole / plain for plain, whole in pairs)
    say("CPU time of a row in a plain loop", f"{1000 * statistics.median(plain for plain, _ in pairs) / rows:.2f} ms")
    shown = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    say("overhead: a run over a plain loop", shown)


def _driver(worker: Worker, rows: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = cpu_seconds(lambda: run("rows", out, worker, rows_a_shard=ROWS_A_SHARD, workers=1))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    say("driver: CPU time beside a worker's", f"{own:.2f} s of {child:.2f} s, {1000 * own / rows:.3f} ms a row")


def _two_workers(worker: Worker, rows: int) -> None:
    rates = []
    for workers in (1, 2):
        times: list[float] = []
        with tempfile.TemporaryDirectory() as out:
            run("rows", out, worker, rows_a_shard=ROWS_A_SHARD, workers=workers, is_interrupted=_noting(out, times))
        rates.append(_steady_rate(times))
    say("rows a second of one worker, and of two", f"{rates[0]:.1f}, {rates[1]:.1f}: {rates[1] / rates[0]:.2f} times")


def _noting(out: str, times: list[float]) -> Callable[[], bool]:
    """A question that is asked now and then; it notes when each shard was finished."""

    def note() -> bool:
        count = len(list(Path(out, "manifests").glob("shard-*.json")))
        times.extend([time.monotonic()] * (count - len(times)))
        return False

    return note


def _steady_rate(times: list[float]) -> float:
    """Rows a second after the first quarter of the shards, when all processes have started."""
    first = len(times) // 4
    return ROWS_A_SHARD * (len(times) - 1 - first) / (times[-1] - times[first])


if __name__ == "__main__":
    sys.exit(main())
