"""Runs all variants of one case in alternating order."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .agreement import compare_files
from .case import Case
from .processes import environment, python
from .results import Measurement, Result
from .settings import Runtime

_LONGEST_COUNT = 30.0  # seconds; operations of longer work are not counted


class Variant(NamedTuple):
    """An implementation and its runtime."""

    implementation: str
    runtime: Runtime


class Worker:
    """The process of one variant."""

    def __init__(self, case: Case, variant: Variant, weights: Path, image: Path | None):
        order = {
            "case": case.name,
            "implementation": variant.implementation,
            "weights": str(weights),
            "image": None if image is None else str(image),
            "runtime": variant.runtime.to_json(),
        }
        self._process = subprocess.Popen(
            python("-m", "benchmarks.worker", json.dumps(order)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self._process.stdin and self._process.stdout
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self.variant, self.measured = variant, Measurement()
        self._settle(self._answer())

    @property
    def is_active(self) -> bool:
        """Whether it has failed in no run."""
        return self.measured.skipped is None

    def run(self) -> dict[str, Any]:
        """Runs the job once. A variant that fails is not run again."""
        return self._settle(self.order("run"))

    def order(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Sends an order and returns the answer, which names the error if there was one."""
        self._orders.write(json.dumps({"order": name, **arguments}) + "\n")
        self._orders.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._orders.close()
        self._process.wait()
        self._answers.close()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            return {"failed": f"its process ended with status {self._process.wait()}"}
        return json.loads(line)

    def _settle(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "loaded" in answer:
            self.measured.loaded = answer["loaded"]
        if "peak" in answer:
            self.measured.peak = max(answer["peak"], self.measured.peak or 0)
        if "unavailable" in answer or "failed" in answer:
            self.measured.skipped = answer.get("unavailable") or answer["failed"]
        return answer


def compare_variants(
    case: Case,
    variants: Mapping[str, Variant],
    weights: Path,
    image: Path | None,
    most_runs: int,
    seconds: float,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Runs all variants of a case and compares their results.

    Args:
        case: the work.
        variants: by name; the one named "ours" is compared with all others.
        weights: checkpoint folder.
        image: file; None for a drawn image.
        most_runs: limit of the runs of each variant.
        seconds: no run starts later than this, once there are the fewest that the case asks for.
        tell: receives a line for each run.

    Returns:
        Times, memory, operations and agreement of the variants.
    """
    result = Result(case.name, case.title, case.preset, case.image_size, case.measures_growth)
    workers: dict[str, Worker] = {}
    try:
        for name, variant in variants.items():
            workers[name] = Worker(case, variant, weights, image)
            result.variants[name] = workers[name].measured
        _run_rounds(case, workers, most_runs, seconds, tell)
        if not case.measures_growth:
            _count(workers)
        result.agreement = _compare(workers)
    finally:
        for worker in workers.values():
            worker.close()
    return result


def _run_rounds(
    case: Case, workers: Mapping[str, Worker], most_runs: int, seconds: float, tell: Callable[[str], None]
) -> None:
    runs, least = min(case.runs, most_runs), min(case.least_runs, most_runs)
    begin = time.monotonic()
    for number in range(-case.warm_up, runs):
        if number == 0:
            begin = time.monotonic()
        if number >= least and time.monotonic() - begin > seconds:
            break
        # The order is reversed in every second round, so that no variant always runs first.
        for name, worker in list(workers.items())[:: 1 if number % 2 == 0 else -1]:
            answer = worker.run() if worker.is_active else {}
            if "seconds" in answer:
                tell(f"{case.name} {number:+d} {name} {answer['seconds']:.3f} s")
            if number >= 0 and "seconds" in answer:
                worker.measured.seconds.append(answer["seconds"])
                worker.measured.processor.append(answer["processor"])
                worker.measured.held.append(answer["held"])


def _count(workers: Mapping[str, Worker]) -> None:
    for name, worker in workers.items():
        if not worker.is_active or worker.variant.runtime.device != "cpu":
            continue
        if name == "ours" or worker.measured.median < _LONGEST_COUNT:
            answer = worker.order("count")
            worker.measured.flops, worker.measured.traffic = answer.get("flops"), answer.get("traffic")


def _compare(workers: Mapping[str, Worker]) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.pt" for name, worker in workers.items() if worker.is_active}
        for name, path in files.items():
            workers[name].order("save", path=str(path))
        if "ours" not in files:
            return {}
        others = {name: path for name, path in files.items() if name != "ours"}
        found = {name: compare_files(files["ours"], path) for name, path in others.items()}
    return {name: agreement for name, agreement in found.items() if agreement}
