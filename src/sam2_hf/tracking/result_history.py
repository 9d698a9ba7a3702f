"""The results of one object by frame, with the orders that a memory policy asks for.

Both classes here are a `History` for policies. Nothing they answer takes longer the more frames there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping

from .frame_result import FrameResult, Provenance
from .memory.history import FrameRuns
from .memory.selection import MemorySelection


class ResultHistory(MutableMapping[int, FrameResult]):
    """Results by frame.

    Invariant: `conditioning` are the frames whose result conditions, in the order in which they came to do so;
    `_promoted` are those of them that a policy made so. `_runs` are the frames whose result shows the object, but for
    those in `_unread`, whose scores nobody asked for yet.
    """

    def __init__(self) -> None:
        self._results: dict[int, FrameResult] = {}
        self._conditioning: dict[int, None] = {}
        self._promoted: set[int] = set()
        self._runs = FrameRuns()
        self._unread: set[int] = set()

    def __getitem__(self, frame: int) -> FrameResult:
        return self._results[frame]

    def __setitem__(self, frame: int, result: FrameResult) -> None:
        old = self._results.get(frame)
        self._results[frame] = result
        if result.is_conditioning:
            self._conditioning.setdefault(frame)
        else:
            self._conditioning.pop(frame, None)
        (self._promoted.add if result.is_promoted else self._promoted.discard)(frame)
        if old is None or old.object_score is not result.object_score:
            self._runs.discard(frame)
            self._unread.add(frame)

    def __delitem__(self, frame: int) -> None:
        del self._results[frame]
        self._conditioning.pop(frame, None)
        self._promoted.discard(frame)
        self._runs.discard(frame)
        self._unread.discard(frame)

    def __iter__(self) -> Iterator[int]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(frames={list(self._results)}, conditioning={self.conditioning})"

    def copy(self) -> ResultHistory:
        """Copy the history; the results are shared."""
        copied = ResultHistory()
        copied._results, copied._conditioning = dict(self._results), dict(self._conditioning)
        copied._promoted, copied._runs, copied._unread = set(self._promoted), self._runs.copy(), set(self._unread)
        return copied

    @property
    def conditioning(self) -> list[int]:
        """Indices of the conditioning frames, in the order in which they came to be so."""
        return list(self._conditioning)

    def conditioning_for(self, frame: int, reverse: bool) -> list[int]:
        """The conditioning frames that a frame may read; see `memory.history.History`."""
        return [
            other for other in self._conditioning if other not in self._promoted or is_passed(other, frame, reverse)
        ]

    def tracked_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and do not condition."""
        results, conditioning = self._results, self._conditioning
        return {frame for frame in frames if frame in results and frame not in conditioning}

    def of(self, frames: Iterable[int]) -> list[FrameResult]:
        """The results of some frames, all of which have one."""
        results = self._results
        return [results[frame] for frame in frames]

    def visible_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and show the object."""
        return {frame for frame in frames if frame in self and self[frame].is_visible}

    def visible_before(self, frame: int, count: int, reverse: bool, step: int = 1) -> list[int]:
        """The last frames that show the object; see `memory.history.History`."""
        for other in self._unread:
            if self._results[other].is_visible:
                self._runs.add(other)
        self._unread.clear()
        return self._runs.before(frame, count, reverse, step)


class SupersededHistory(Mapping[int, FrameResult]):
    """Results as they were before the prompts of one correction were segmented.

    `superseded` are the frames of these prompts, each with the result that stood there before, if any. There are few.
    """

    def __init__(self, results: ResultHistory, superseded: Mapping[int, FrameResult | None]):
        self._results = results
        self._superseded = superseded

    def __getitem__(self, frame: int) -> FrameResult:
        result = self._superseded[frame] if frame in self._superseded else self._results[frame]
        if result is None:
            raise KeyError(frame)
        return result

    def __iter__(self) -> Iterator[int]:
        return (frame for frame in self._results if frame in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def conditioning(self) -> list[int]:
        """Indices of the conditioning frames, in the order in which they came to be so."""
        return [frame for frame in self._results.conditioning if frame in self and self[frame].is_conditioning]

    def conditioning_for(self, frame: int, reverse: bool) -> list[int]:
        """The conditioning frames that a frame may read; see `memory.history.History`."""
        return [other for other in self.conditioning if not self[other].is_promoted or is_passed(other, frame, reverse)]

    def tracked_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and do not condition."""
        return {frame for frame in frames if frame in self and not self[frame].is_conditioning}

    def of(self, frames: Iterable[int]) -> list[FrameResult]:
        """The results of some frames, all of which have one."""
        return [self[frame] for frame in frames]

    def visible_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and show the object."""
        return {frame for frame in frames if frame in self and self[frame].is_visible}

    def visible_before(self, frame: int, count: int, reverse: bool, step: int = 1) -> list[int]:
        """The last frames that show the object; see `memory.history.History`."""
        nearest = self._results.visible_before(frame, count + len(self._superseded), reverse, step)
        visible = [other for other in nearest if other not in self._superseded]
        visible += [
            other
            for other, result in self._superseded.items()
            if is_passed(other, frame, reverse) and other % step == 0 and result is not None and result.is_visible
        ]
        return sorted(visible, reverse=not reverse)[:count]


Results = ResultHistory | SupersededHistory


def is_passed(other: int, frame: int, reverse: bool) -> bool:
    """Whether tracking passes a frame before it comes to `frame`."""
    return other > frame if reverse else other < frame


def provenance_of(
    results: Results, selection: MemorySelection, reverse: bool, state_of: int | None = None
) -> Provenance:
    """The selection with the versions of what it names.

    Results that were tracked in the other direction are read where there are any, but left out here: propagating both
    ways, each would otherwise make the other stale, for ever.

    Args:
        results: the object's results by frame.
        selection: what a frame reads of them.
        reverse: the direction in which that frame is tracked.
        state_of: the frame whose policy state goes into the result as well.
    """
    memories, pointers = selection.frames()
    read = (_versions(results, memories, reverse), _versions(results, pointers, reverse))
    if state_of is None:
        return read
    return (*read, _versions(results, [state_of] if state_of in results else [], reverse))


def _versions(results: Results, frames: list[int], reverse: bool) -> tuple[tuple[int, int], ...]:
    read = [
        (frame, result.version)
        for frame, result in zip(frames, results.of(frames), strict=True)
        if result.is_conditioning or result.tracked_in_reverse == reverse
    ]
    return tuple(read)
