"""What a run has done, and how it is shown while it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from tqdm import tqdm

from .shard_job import Outcome

_MOST_EXAMPLES = 20
_COUNTED = ("images", "clips", "frames", "objects", "errors")


@dataclass
class RunSummary:
    """What is in the folder of a run, and what this call has done for it.

    Attributes:
        rows: of the source.
        images: with a result.
        clips: with a result, if only of their first frames.
        frames: of clips.
        objects: masks that are not empty.
        errors: rows that failed.
        shards: into which the rows are divided.
        finished_before: shards that were finished when this call began.
        computed: shards that this call has finished.
        failed: shards that were given up, with the reason; the next call tries them again.
        examples: [id, error] of rows that failed, by the number of their shard.
        rows_computed: by this call.
        seconds: that this call took.
    """

    rows: int
    shards: int
    images: int = 0
    clips: int = 0
    frames: int = 0
    objects: int = 0
    errors: int = 0
    finished_before: int = 0
    computed: int = 0
    rows_computed: int = 0
    seconds: float = 0.0
    failed: dict[int, str] = field(default_factory=dict)
    examples: dict[int, list[list[str]]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all shards are finished."""
        return self.finished_before + self.computed == self.shards

    @property
    def rows_a_second(self) -> float:
        """The rate of this call."""
        return self.rows_computed / self.seconds if self.seconds else 0.0

    def add_finished(self, manifest: Mapping[str, Any]) -> None:
        """Count a shard that was finished before."""
        self.finished_before += 1
        self._count(manifest)

    def add(self, outcome: Outcome) -> None:
        """Count what became of a shard."""
        if outcome.manifest is None:
            self.failed[outcome.shard.number] = outcome.error
            return
        self.computed += 1
        self.rows_computed += outcome.shard.stop - outcome.shard.start
        self._count(outcome.manifest)

    def as_dict(self) -> dict[str, Any]:
        """Everything by name, as JSON has it."""
        return {**asdict(self), "rows_a_second": self.rows_a_second, "is_complete": self.is_complete}

    def __str__(self) -> str:
        """Say it in lines."""
        found = [_counted(getattr(self, name), name) for name in _COUNTED[:-1] if getattr(self, name)]
        lines = [
            f"{self.finished_before + self.computed} of {self.shards} shards: {', '.join(found) or 'nothing'}",
            f"computed {_counted(self.computed, 'shards')}, {_counted(self.rows_computed, 'rows')}, "
            f"in {self.seconds:.1f} s ({self.rows_a_second:.2f} rows/s); {self.finished_before} were finished before",
        ]
        if self.errors:
            lines.append(f"{_counted(self.errors, 'rows')} failed:")
            examples = [found for _, some in sorted(self.examples.items()) for found in some][:_MOST_EXAMPLES]
            lines += [f"  {name}: {error}" for name, error in examples]
            if self.errors > len(examples):
                lines.append(f"  ... and {self.errors - len(examples)} more, in the column error")
        lines += [f"shard {number} was given up: {reason}" for number, reason in self.failed.items()]
        return "\n".join(lines)

    def _count(self, manifest: Mapping[str, Any]) -> None:
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + manifest[name])
        if manifest["examples"]:
            self.examples[manifest["shard"]] = manifest["examples"]


def _counted(count: int, things: str) -> str:
    return f"{count} {things if count != 1 else things.removesuffix('s')}"


class Progress:
    """A bar with the rate, the time left, and the failures; and the summary behind it.

    Args:
        summary: with the shards that were finished before, which do not count for the rate.
        rows_left: rows of the others.
        is_shown: whether there is a bar.
    """

    def __init__(self, summary: RunSummary, rows_left: int, is_shown: bool):
        self.summary = summary
        done = summary.rows - rows_left
        self._bar = tqdm(total=summary.rows, initial=done, unit="row", disable=not is_shown)
        self._start = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.summary.seconds = time.monotonic() - self._start
        self._bar.close()

    def add(self, outcome: Outcome) -> None:
        """Note what became of a shard."""
        self.summary.add(outcome)
        failed = self.summary.errors
        self._bar.set_postfix(failed=failed, given_up=len(self.summary.failed), refresh=False)
        self._bar.update(outcome.shard.stop - outcome.shard.start)
