"""Goals beside transformers on two CPU cores in float32, and what was reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .results import Result

PEER = "transformers"


class Goal(NamedTuple):
    """A least value of a measure of a case. The measure is None where there is nothing to compare."""

    case: str
    what: str
    least: float
    measure: Callable[[Result], float | None]


def _speed(result: Result) -> float | None:
    ratio = result.ratio(PEER)
    return None if ratio is None else ratio.median


def _speed_by_processor(result: Result) -> str:
    ratio = result.ratio(PEER, "processor")
    return "-" if ratio is None else f"{ratio.median:.2f}x"


def _memory(result: Result) -> float | None:
    if not result.has_runs("ours", PEER):
        return None
    ours, theirs = result.variants["ours"].peak, result.variants[PEER].peak
    return theirs / ours if ours and theirs else None


GOALS = (
    Goal("masks-256", "mask generation, 256 points: speed", 10, _speed),
    Goal("masks-256", "mask generation, 256 points: memory", 4, _memory),
    Goal("prompts-64", "64 clicks on an encoded image", 2.5, _speed),
    Goal("click", "one click on an encoded image", 2, _speed),
    Goal("encode", "image encoding", 1.3, _speed),
    Goal("video-1024-1", "video, 1024 px, one object", 1.5, _speed),
    Goal("video-1024-8", "video, 1024 px, eight objects", 2, _speed),
    Goal("video-256-8", "video, 256 px, small model, eight objects", 4, _speed),
)


def goal_rows(results: Sequence[Result]) -> list[list[str]]:
    """A row of the table for every goal whose case is among the results."""
    by_name = {result.name: result for result in results}
    rows = []
    for goal in GOALS:
        reached = goal.measure(by_name[goal.case]) if goal.case in by_name else None
        if reached is not None:
            verdict = "yes" if reached >= goal.least else "no"
            processor = _speed_by_processor(by_name[goal.case]) if goal.measure is _speed else "-"
            rows.append([goal.case, goal.what, f"{goal.least:g}x", f"{reached:.2f}x", processor, verdict])
    return rows
