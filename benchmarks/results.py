"""Results of the benchmarks, and their JSON file."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Spread(NamedTuple):
    """Minimum, median and maximum of some values."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))


@dataclass
class Measurement:
    """Measurements of one variant of a case.

    Args:
        seconds: wall-clock time of each run.
        processor: processor time of each run, over all threads, in seconds.
        held: bytes held after each run.
        loaded: peak memory of the process before the first run, in bytes.
        peak: peak memory of the process over all runs, in bytes.
        flops: floating-point operations of one run, if they were counted.
        traffic: bytes that the operations of one run read and write, if they were counted.
        skipped: why there are no measurements.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    loaded: int | None = None
    peak: int | None = None
    flops: int | None = None
    traffic: int | None = None
    skipped: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def growth(self) -> float:
        """Bytes that each run adds to what is held, over the last third of the runs."""
        last = self.held[-max(2, len(self.held) // 3) :]
        return (last[-1] - last[0]) / (len(last) - 1)


@dataclass
class Result:
    """A case and the measurements of its variants.

    Args:
        name: of the case.
        title: of the case.
        preset: architecture of the checkpoint.
        image_size: side of the model's input in pixels.
        measures_growth: whether memory that each run adds is measured, instead of time.
        variants: measurements by variant.
        agreement: of ours with each other variant.
        rates: of the machine just before: operations and bytes per second.
        load: of the machine just after.
    """

    name: str
    title: str
    preset: str
    image_size: int
    measures_growth: bool
    variants: dict[str, Measurement] = field(default_factory=dict)
    agreement: dict[str, dict[str, Any]] = field(default_factory=dict)
    rates: dict[str, float] | None = None
    load: float | None = None

    def has_runs(self, *names: str) -> bool:
        """Whether all of these variants were measured."""
        return all(name in self.variants and self.variants[name].seconds for name in names)

    def ratio(self, theirs: str, clock: Literal["seconds", "processor"] = "seconds") -> Spread | None:
        """Their time divided by ours, within each round.

        Processor time hardly depends on what else the machine does, and does not show how well threads share work.

        Args:
            theirs: name of the other variant.
            clock: "seconds" for wall-clock time, "processor" for processor time.

        Returns:
            The ratios' spread; None if one of the two was not measured.
        """
        if not self.has_runs("ours", theirs):
            return None
        pairs = zip(getattr(self.variants[theirs], clock), getattr(self.variants["ours"], clock), strict=False)
        return Spread.of([slow / fast for slow, fast in pairs])


@dataclass
class Report:
    """All results, with the machine, versions and options."""

    machine: dict[str, Any]
    versions: dict[str, str]
    options: dict[str, Any]
    started: str
    results: list[Result] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Report:
        values = json.loads(path.read_text())
        results = values.pop("results")
        for result in results:
            result["variants"] = {name: Measurement(**found) for name, found in result["variants"].items()}
        return cls(**values, results=[Result(**result) for result in results])

    def merge(self, other: Report) -> None:
        """Adds the results of another report. They replace those of the same cases."""
        replaced = {result.name for result in other.results}
        self.results = [result for result in self.results if result.name not in replaced] + other.results
