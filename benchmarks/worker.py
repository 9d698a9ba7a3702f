"""The process of one contender: gets a job ready, then does what it is told, line by line, as JSON.

Orders are {"order": "run"}, {"order": "count"}, {"order": "save", "path": ...} and the end of the input. One contender
a process, because a process never gives back the peak of its memory, and what one library sets would reach another.
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
from .case import CASES, Bench, Job, Place, Unavailable
from .memory import held_bytes, peak_bytes
from .sides import SIDES
from .work import count_work

Answer = dict[str, Any]


class Contender:
    """A job, and what its last run returned."""

    def __init__(self, case: str, side: str, weights: str, picture: str | None, place: dict[str, Any]):
        self._case, self._place = CASES[case], Place.from_json(place)
        if self._place.threads is not None:
            torch.set_num_threads(self._place.threads)
        picture_path = None if picture is None else Path(picture)
        self._bench = Bench(SIDES[side], Path(weights), picture_path, self._place, self._case.image_size)
        self._returned: Any = None
        self._job: Job

    def prepare(self) -> Answer:
        """Loads the model and whatever else comes before the work."""
        self._job = self._case.prepare(self._bench)
        return {"loaded": peak_bytes(self._place.device)}

    def run(self) -> Answer:
        """One run: how long it took, and how much is held after it."""
        self._returned = None
        self._wait()
        processor, start = _processor_time(), time.perf_counter()
        self._returned = self._job.run()
        self._wait()
        seconds, processor = time.perf_counter() - start, _processor_time() - processor
        peak = peak_bytes(self._place.device) if self._job.peak is None else self._job.peak(self._returned)
        return {"seconds": seconds, "processor": processor, "peak": peak, "held": held_bytes(self._job.state)}

    def count(self) -> Answer:
        """One more run, not for the clock but to count its arithmetic."""
        return count_work(self._job.run)

    def save(self, path: str) -> Answer:
        """Writes what the last run found, to be compared with what others found."""
        torch.save({name: tensor.cpu() for name, tensor in self._job.read(self._returned).items()}, path)
        return {}

    def _wait(self) -> None:
        if self._place.device.startswith("cuda"):
            torch.cuda.synchronize()


def main() -> None:
    """Answers orders until there are no more."""
    answers = _take_over_output()
    order = json.loads(sys.argv[1])
    with torch.inference_mode(), _plain_paths() if order["place"]["plain"] else nullcontext():
        contender = Contender(**order)
        _answer(answers, contender.prepare)
        actions: dict[str, Callable[..., Answer]] = {
            "run": contender.run,
            "count": contender.count,
            "save": contender.save,
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
    """Seconds that all threads of this process and of those it has started have computed."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def _plain_paths() -> AbstractContextManager[None]:
    from sam2_hf.fast.dispatch import plain_paths

    return plain_paths()


def _take_over_output() -> TextIO:
    """The standard output for answers alone; what libraries print there goes to the error stream."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main()
