"""One case taken through its contenders, in turns."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .agreement import compare_files
from .case import Case, Place
from .processes import environment, python
from .results import Measurement, Result

_LONGEST_COUNT = 30.0  # seconds: of work that takes longer, counting it is not worth the time


class Entry(NamedTuple):
    """Who takes part: a side, and where it computes."""

    side: str
    place: Place


class Worker:
    """The process of one contender."""

    def __init__(self, case: Case, entry: Entry, weights: Path, picture: Path | None):
        order = {
            "case": case.name,
            "side": entry.side,
            "weights": str(weights),
            "picture": None if picture is None else str(picture),
            "place": entry.place.to_json(),
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
        self.entry, self.measured = entry, Measurement()
        self._settle(self._answer())

    @property
    def is_in(self) -> bool:
        """Whether it still takes part."""
        return self.measured.skipped is None

    def run(self) -> dict[str, Any]:
        """One run; a contender that cannot do it is out."""
        return self._settle(self.order("run"))

    def order(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Has an order carried out; returns the answer, which may be that it cannot be."""
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


def hold(
    case: Case,
    entries: Mapping[str, Entry],
    weights: Path,
    picture: Path | None,
    most_runs: int,
    seconds: float,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Takes a case through its contenders; at most `most_runs` runs, and none begun after `seconds`."""
    result = Result(case.name, case.title, case.preset, case.image_size, case.measures_growth)
    workers: dict[str, Worker] = {}
    try:
        for name, entry in entries.items():
            workers[name] = Worker(case, entry, weights, picture)
            result.contenders[name] = workers[name].measured
        _take_turns(case, workers, most_runs, seconds, tell)
        if not case.measures_growth:
            _count(workers)
        result.agreement = _compare(workers)
    finally:
        for worker in workers.values():
            worker.close()
    return result


def _take_turns(
    case: Case, workers: Mapping[str, Worker], most_runs: int, seconds: float, tell: Callable[[str], None]
) -> None:
    runs, least = min(case.runs, most_runs), min(case.least_runs, most_runs)
    begin = time.monotonic()
    for turn in range(-case.warm_up, runs):
        if turn == 0:
            begin = time.monotonic()
        if turn >= least and time.monotonic() - begin > seconds:
            break
        # Every second turn goes the other way round, so that none is always first.
        for name, worker in list(workers.items())[:: 1 if turn % 2 == 0 else -1]:
            answer = worker.run() if worker.is_in else {}
            if "seconds" in answer:
                tell(f"{case.name} {turn:+d} {name} {answer['seconds']:.3f} s")
            if turn >= 0 and "seconds" in answer:
                worker.measured.seconds.append(answer["seconds"])
                worker.measured.processor.append(answer["processor"])
                worker.measured.held.append(answer["held"])


def _count(workers: Mapping[str, Worker]) -> None:
    for name, worker in workers.items():
        is_short = name == "ours" or worker.measured.median < _LONGEST_COUNT
        if worker.is_in and worker.entry.place.device == "cpu" and is_short:
            answer = worker.order("count")
            worker.measured.flops, worker.measured.traffic = answer.get("flops"), answer.get("traffic")


def _compare(workers: Mapping[str, Worker]) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.pt" for name, worker in workers.items() if worker.is_in}
        for name, path in files.items():
            workers[name].order("save", path=str(path))
        if "ours" not in files:
            return {}
        others = {name: path for name, path in files.items() if name != "ours"}
        found = {name: compare_files(files["ours"], path) for name, path in others.items()}
    return {name: agreement for name, agreement in found.items() if agreement}
