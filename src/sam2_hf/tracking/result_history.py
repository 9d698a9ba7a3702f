"""The results of one object by frame, with the orders that a memory policy asks for.

Both classes here are a `History` for policies. Nothing they answer takes longer the more frames there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from ..arrays import Array
from .archive import Archive, Block, CompactResult, Entry, Recomputed, Row, compacted, on_host
from .frame_result import FrameMemory, FrameResult, path_of, paths_of, shown_of
from .memory.history import FrameRuns
from .memory.paths import MemoryPath
from .memory.selection import MemorySelection
from .recipe import Provenance, Recipe, Source


class ResultHistory(MutableMapping[int, FrameResult]):
    """Results by frame.

    A result is stored as it is, or in little space, and is put as a `FrameResult` when it is asked for.

    Invariant: `conditioning` are the frames whose result conditions, in the order in which they came to do so;
    `_promoted` are those of them that a policy made so. `_runs` are the frames whose result shows the object, but for
    those in `_unread`, whose scores nobody asked for yet. `_whole` are the frames whose result could be put into little
    space, in the order in which they came.

    Attributes:
        archive: where results in little space lie.
        recomputed: what was computed again of results in little space, the newest last.
    """

    def __init__(self) -> None:
        self.archive = Archive()
        self.recomputed: OrderedDict[Source, Recomputed] = OrderedDict()
        self._results: dict[int, Entry] = {}
        self._whole: dict[int, None] = {}
        self._conditioning: dict[int, None] = {}
        self._promoted: set[int] = set()
        self._runs = FrameRuns()
        self._unread: set[int] = set()

    def __getitem__(self, frame: int) -> FrameResult:
        return self.expand(self._results[frame])

    def __setitem__(self, frame: int, value: Entry) -> None:
        result: Entry = value
        if isinstance(value, FrameResult) and isinstance(value.kept, Row):  # it was expanded, and small values changed
            result = compacted(value, value.kept, value.is_visible)
        old = self._results.get(frame)
        self._results[frame] = result
        self._whole.pop(frame, None)
        if isinstance(result, FrameResult) and result.recipe is not None:
            self._whole[frame] = None
        if result.is_conditioning:
            self._conditioning.setdefault(frame)
        else:
            self._conditioning.pop(frame, None)
        (self._promoted.add if result.is_promoted else self._promoted.discard)(frame)
        if old is None or not _same_score(old, result):
            self._runs.discard(frame)
            self._unread.add(frame)

    def __delitem__(self, frame: int) -> None:
        del self._results[frame]
        self._whole.pop(frame, None)
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
        copied.archive, copied.recomputed = self.archive.copy(), self.recomputed.copy()
        copied._results, copied._whole = dict(self._results), dict(self._whole)
        copied._conditioning = dict(self._conditioning)
        copied._promoted, copied._runs, copied._unread = set(self._promoted), self._runs.copy(), set(self._unread)
        return copied

    def expand(self, entry: Entry) -> FrameResult:
        """Put a stored result as a `FrameResult`, with what was computed again of it."""
        return entry if isinstance(entry, FrameResult) else entry.expand(self.recomputed.get(entry.source))

    def entry(self, frame: int) -> Entry | None:
        """The result of a frame as it is stored; None if there is none."""
        return self._results.get(frame)

    def shown(self, frame: int) -> FrameResult | None:
        """The result of a frame, of the path that is shown."""
        entry = self._results.get(frame)
        return None if entry is None else self.expand(shown_of(entry))

    def show(self, frame: int, number: int) -> None:
        """Note which path of a frame is shown."""
        entry = self._results[frame]
        if entry.policy_state is not None and entry.policy_state.get("shown", number) != number:
            self._results[frame] = replace(entry, policy_state={**entry.policy_state, "shown": number})

    def note_of(self, frame: int) -> tuple[dict[str, Any] | None, int]:
        """The state that the policy left with a frame, and the first path."""
        entry = self._results.get(frame)
        return None if entry is None else entry.policy_state, 0

    def entries(self) -> Iterable[tuple[int, Entry]]:
        """Frames with their results as they are stored."""
        return self._results.items()

    @property
    def whole(self) -> Collection[int]:
        """Frames whose result could be put into little space, in the order in which they came."""
        return self._whole.keys()

    def pin(self, frames: Iterable[int]) -> None:
        """Keep the features of frames for good, as far as they are there."""
        for frame in frames:
            for entry in paths_of(self._results[frame]):
                if entry.source is None or entry.source.depth == 0:
                    continue
                features = self.expand(entry).memory.features
                if features is not None:
                    entry.source.pin(features if isinstance(entry, FrameResult) else on_host(features))

    def seal(self, frames: Collection[int]) -> list[Block]:
        """Put results of `whole` frames into little space.

        Returns:
            The new block, if there are any frames.
        """
        if not frames:
            return []
        self.pin(frame for frame in frames if frame in self._conditioning)
        results = [result for result in map(self._results.get, frames) if isinstance(result, FrameResult)]
        block, compact = self.archive.seal(results)
        for frame, result in zip(frames, compact, strict=True):
            self._results[frame] = result
            del self._whole[frame]
        return [block]

    def reorder(self, conditioning: Iterable[int], whole: Iterable[int]) -> None:
        """For loading: take up the orders of conditioning and of whole frames; others stay behind these."""
        self._conditioning = {
            **{frame: None for frame in conditioning if frame in self._conditioning},
            **self._conditioning,
        }
        self._whole = {**{frame: None for frame in whole if frame in self._whole}, **self._whole}

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
        entries = self.entries_of(frames)
        return [entry if isinstance(entry, FrameResult) else self.expand(entry) for entry in entries]

    def entries_of(self, frames: Iterable[int]) -> list[Entry]:
        """The results of some frames, all of which have one, as they are stored."""
        results = self._results
        return [results[frame] for frame in frames]

    def visible_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and show the object."""
        return {frame for frame in frames if frame in self._results and self._results[frame].is_visible}

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

    def __init__(self, results: ResultHistory, superseded: Mapping[int, Entry | None]):
        self._results = results
        self._superseded = superseded

    def __getitem__(self, frame: int) -> FrameResult:
        return self._results.expand(self._entry(frame))

    def _entry(self, frame: int) -> Entry:
        entry = self._superseded[frame] if frame in self._superseded else self._results.entry(frame)
        if entry is None:
            raise KeyError(frame)
        return entry

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

    def entries_of(self, frames: Iterable[int]) -> list[Entry]:
        """The results of some frames, all of which have one, as they are stored."""
        return [self._entry(frame) for frame in frames]

    def visible_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and show the object."""
        return {frame for frame in frames if frame in self and self._entry(frame).is_visible}

    def expand(self, entry: Entry) -> FrameResult:
        """Put a stored result as a `FrameResult`."""
        return self._results.expand(entry)

    def note_of(self, frame: int) -> tuple[dict[str, Any] | None, int]:
        """The state that the policy left with a frame, and the first path."""
        return self._entry(frame).policy_state if frame in self else None, 0

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


class PathHistory:
    """Results of an object along one of its paths.

    Args:
        results: the results of all paths.
        path: which of them.
    """

    def __init__(self, results: ResultHistory | SupersededHistory, path: MemoryPath):
        self._results = results
        self._path = path

    def __contains__(self, frame: object) -> bool:
        return frame in self._results

    def conditioning_for(self, frame: int, reverse: bool) -> list[int]:
        """The conditioning frames that a frame may read; see `memory.history.History`."""
        return self._results.conditioning_for(frame, reverse)

    @property
    def conditioning(self) -> list[int]:
        """Indices of the conditioning frames, in the order in which they came to be so."""
        return self._results.conditioning

    def tracked_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and do not condition."""
        return self._results.tracked_among(frames)

    def visible_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a result and show the object."""
        return {frame for frame in frames if frame in self._path.visible and frame in self._results}

    def visible_before(self, frame: int, count: int, reverse: bool, step: int = 1) -> list[int]:
        """The last frames that show the object; see `memory.history.History`."""
        passed = [other for other in self._path.visible if other % step == 0 and is_passed(other, frame, reverse)]
        return sorted((other for other in passed if other in self._results), reverse=not reverse)[:count]

    def note_of(self, frame: int) -> tuple[dict[str, Any] | None, int]:
        """The state that the policy left with a frame, and the path."""
        return self._results.note_of(frame)[0], self._path.numbers.get(frame, 0)

    def entries_of(self, frames: Iterable[int]) -> list[Entry]:
        """The results of some frames, all of which have one, as they are stored."""
        frames = list(frames)
        numbers = self._path.numbers
        entries = zip(frames, self._results.entries_of(frames), strict=True)
        return [path_of(entry, numbers.get(frame, 0)) for frame, entry in entries]

    def of(self, frames: Iterable[int]) -> list[FrameResult]:
        """The results of some frames, all of which have one."""
        return [self._results.expand(entry) for entry in self.entries_of(frames)]


class RecordedReads:
    """The results that a recipe names, for a task that computes its result again.

    Args:
        features: of the memories that it reads.
        recipe: the recipe.
    """

    def __init__(self, features: Mapping[Source, Array], recipe: Recipe):
        self._memories = {
            source.frame: FrameMemory(features.get(source), source.pointer)
            for source in (*recipe.pointers, *recipe.memories)
        }

    def of(self, frames: Iterable[int]) -> list[FrameResult]:
        """Results of which the memory alone can be read."""
        return [FrameResult(None, None, None, self._memories[frame], is_conditioning=False) for frame in frames]

    def entries_of(self, frames: Iterable[int]) -> list[Entry]:
        """The same, as they are stored."""
        return list(self.of(frames))


WholeResults = ResultHistory | SupersededHistory
Results = WholeResults | PathHistory


def _same_score(old: Entry, new: Entry) -> bool:
    if isinstance(old, CompactResult) or isinstance(new, CompactResult):
        return isinstance(old, CompactResult) and isinstance(new, CompactResult) and old.row is new.row
    return old.object_score is new.object_score


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
        for frame, result in zip(frames, results.entries_of(frames), strict=True)
        if result.is_conditioning or result.tracked_in_reverse == reverse
    ]
    return tuple(read)
