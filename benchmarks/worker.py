"""The process of one variant: prepares a job, then carries out orders, one JSON object a line.

Orders are {"order": "run"}, {"order": "count"}, {"order": "save", "path": ...} and the end of the input. Each
variant has its own process, because peak memory is a property of a process, and settings of a library are global.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch

from . import cases  # noqa: F401
from .case import CASES, Bench, Job
from .implementations import IMPLEMENTATIONS
from .memory import held_bytes, peak_bytes
from .settings import Runtime, Unavailable
from .work import count_work

Answer = dict[str, Any]


class Worker:
    """A job, and the result of its last run."""

    def __init__(self, case: str, implementation: str, weights: str, image: str | None, runtime: dict[str, Any]):
        self._case, self._runtime = CASES[case], Runtime.from_json(runtime)
        if self._runtime.threads is not None:
            torch.set_num_threads(self._runtime.threads)
        image_path = None if image is None else Path(image)
        self._bench = Bench(
            IMPLEMENTATIONS[implementation], Path(weights), image_path, self._runtime, self._case.image_size
        )
        self._returned: Any = None
        self._job: Job

    def prepare(self) -> Answer:
        """Loads the model and makes the input. Returns the peak memory in bytes."""
        self._job = self._case.prepare(self._bench)
        return {"loaded": peak_bytes(self._runtime.device)}

    def run(self) -> Answer:
        """Runs the job once. Returns times in seconds and memory in bytes."""
        self._returned = None
        self._wait()
        processor, start = _processor_time(), time.perf_counter()
        self._returned = self._job.run()
        self._wait()
        seconds, processor = time.perf_counter() - start, _processor_time() - processor
        peak = peak_bytes(self._runtime.device) if self._job.peak is None else self._job.peak(self._returned)
        return {"seconds": seconds, "processor": processor, "peak": peak, "held": held_bytes(self._job.state)}

    def count(self) -> Answer:
        """Runs the job once more to count its operations."""
        return count_work(self._job.run)

    def save(self, path: str) -> Answer:
        """Writes the tensors of the last run to a file, for the comparison with other variants."""
        torch.save({name: tensor.cpu() for name, tensor in self._job.read(self._returned).items()}, path)
        return {}

    def _wait(self) -> None:
        if self._runtime.device.startswith("cuda"):
            torch.cuda.synchronize()


def main() -> None:
    """Answer orders until the input ends."""
    answers = _take_over_output()
    order = json.loads(sys.argv[1])
    if order["implementation"] == "ours":
        _keep_freed_memory()
    with torch.inference_mode(), _plain_paths() if order["runtime"]["plain"] else nullcontext():
        worker = Worker(**order)
        _answer(answers, worker.prepare)
        actions: dict[str, Callable[..., Answer]] = {
            "run": worker.run,
            "count": worker.count,
            "save": worker.save,
        }
        for line in sys.stdin:
            order = json.loads(line)
            _answer(answers, partial(actions[order.pop("order")], **order))


def _answer(answers: TextIO, action: Callable[[], Answer]) -> None:
    try:
        answer = action()
    except Unavailable as reason:
        answer = {"unavailable": str(reason)}
    except Exception as error:
        traceback.print_exc()
        answer = {"failed": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _processor_time() -> float:
    """Processor time in seconds of all threads of this process and of its finished children."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def _keep_freed_memory() -> None:
    """What our own command does at its start as well."""
    from sam2_hf.fast.allocator import keep_freed_memory

    keep_freed_memory()


def _plain_paths() -> AbstractContextManager[None]:
    from sam2_hf.fast.dispatch import plain_paths

    return plain_paths()


def _take_over_output() -> TextIO:
    """Returns standard output, for answers alone. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main()
