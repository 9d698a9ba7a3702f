"""What a run of the benchmarks found, as it is kept in JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Spread(NamedTuple):
    """Least, middle and greatest of some values."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))


@dataclass
class Measurement:
    """What one contender of a case took.

    `seconds` of each run by the clock, `processor` seconds that its threads computed, `held` bytes after each run;
    `loaded` and `peak`, the process's memory before the first run and in all; `flops` and `traffic` of one run, where
    they were counted. A contender that could not take part has the reason in `skipped`.
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
        """Bytes held more from run to run, over the last third of the runs."""
        last = self.held[-max(2, len(self.held) // 3) :]
        return (last[-1] - last[0]) / (len(last) - 1)


@dataclass
class Result:
    """A case and its contenders.

    `agreement` is that of ours with each other one. `rates` is how fast the machine was at that time, in operations
    and in bytes a second, and `load` how many processes wanted to run.
    """

    name: str
    title: str
    preset: str
    image_size: int
    measures_growth: bool
    contenders: dict[str, Measurement] = field(default_factory=dict)
    agreement: dict[str, dict[str, Any]] = field(default_factory=dict)
    rates: dict[str, float] | None = None
    load: float | None = None

    def took_part(self, *names: str) -> bool:
        """Whether all of these contenders have runs."""
        return all(name in self.contenders and self.contenders[name].seconds for name in names)

    def ratio(self, theirs: str, clock: Literal["seconds", "processor"] = "seconds") -> Spread | None:
        """How many times as long as ours they take, turn by turn; None if one of the two did not take part.

        By `processor` time, what else the machine does hardly matters, but neither does how well threads share work.
        """
        if not self.took_part("ours", theirs):
            return None
        pairs = zip(getattr(self.contenders[theirs], clock), getattr(self.contenders["ours"], clock), strict=False)
        return Spread.of([slow / fast for slow, fast in pairs])


@dataclass
class Report:
    """All results, with what is needed to understand them."""

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
            result["contenders"] = {name: Measurement(**found) for name, found in result["contenders"].items()}
        return cls(**values, results=[Result(**result) for result in results])

    def merge(self, other: Report) -> None:
        """Takes over the results of another report, in the place of those of the same cases."""
        replaced = {result.name for result in other.results}
        self.results = [result for result in self.results if result.name not in replaced] + other.results
