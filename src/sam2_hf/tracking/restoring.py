"""Computing again what was dropped of results, from the nearest checkpoint.

A result is computed again from its recipe: from the memories that it was computed from, which may have to be computed
before. The frames are visited in passes that hand out nothing, and nothing else in the session changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..arrays import Array
from ..network.features import FrameFeatures
from .archive import CompactResult, Entry, Recomputed
from .frame_result import FrameResult, paths_of, shown_of
from .memory.policy import MemoryPolicy
from .plan import Task
from .propagation import FrameReader, Pass
from .recipe import Recipe, Source, write_recipe
from .result_history import RecordedReads, ResultHistory
from .session_state import SessionState

Compute = Callable[[FrameFeatures, list[Task]], dict[Hashable, FrameResult]]
Encode = Callable[[Array], Sequence[FrameFeatures]]


class Dropped(NamedTuple):
    """A result of one object whose features or logits are to be computed again."""

    results: ResultHistory
    source: Source
    recipe: Recipe


def recipe_of(task: Task) -> Recipe | None:
    """Note how a tracked result is computed; None for a prompt's, and if what it reads was not recorded itself."""
    if task.prompt is not None or task.selection is None or task.provenance is None:
        return None
    memory_frames, pointer_frames = task.selection.frames()
    memories = _sources(task.history.entries_of(memory_frames))
    pointers = _sources(task.history.entries_of(pointer_frames))
    if memories is None or pointers is None:
        return None
    reverse = bool(task.tracked_in_reverse)
    return write_recipe(task.selection, memories, pointers, task.provenance, reverse, task.policy_state, task.key_scale)


def with_recipes(policy: MemoryPolicy, task: Task, result: FrameResult) -> FrameResult:
    """A result that notes how each of its paths was computed."""
    if not task.branches:
        return replace(result, recipe=recipe_of(task))
    state = result.policy_state or {}
    recipes = [
        recipe_of(replace(task.paths[parent], policy_state=policy.recipe_state(state, number)))
        for number, parent in enumerate(policy.parents(state))
    ]
    others = zip(result.alternatives, recipes[1:], strict=True)
    alternatives = tuple(replace(other, recipe=recipe) for other, recipe in others)
    return replace(result, recipe=recipes[0], alternatives=alternatives)


def _sources(entries: Iterable[Entry]) -> list[Source] | None:
    sources = [entry.source for entry in entries]
    found = [source for source in sources if source is not None]
    return found if len(found) == len(sources) else None


class Needs(NamedTuple):
    """What a frame needs of results in little space: what has to be computed again, and what was before."""

    dropped: list[Dropped]
    at_hand: set[Source]


def needs_of(session: SessionState, tasks: Iterable[Task], frame_idx: int) -> Needs:
    """What tasks of a frame read: features of memories, and the logits that a click corrects."""
    needs = Needs([], set())
    for task in tasks:
        results = session.tracks[task.obj_id].results
        for path in (task, *task.others):
            if path.selection is None:
                continue
            for entry in path.history.entries_of(path.selection.frames()[0]):
                if entry.source is None or entry.source.features is None:
                    _add(needs, results, entry)
        if task.prompt is not None:
            _add(needs, results, _shown(results, frame_idx))
    return needs


def needs_on(session: SessionState, frame_idx: int) -> Needs:
    """What it takes to hand out the logits of all objects in a frame as they were computed."""
    needs = Needs([], set())
    for track in session.tracks.values():
        _add(needs, track.results, _shown(track.results, frame_idx))
    return needs


def _shown(results: ResultHistory, frame_idx: int) -> Entry | None:
    entry = results.entry(frame_idx)
    return None if entry is None else shown_of(entry)


def _add(needs: Needs, results: ResultHistory, entry: Entry | None) -> None:
    """Add a result, unless it is whole."""
    if not isinstance(entry, CompactResult):
        return
    if entry.source in results.recomputed:
        needs.at_hand.add(entry.source)
    elif all(entry.source != other.source for other in needs.dropped):
        needs.dropped.append(Dropped(results, entry.source, entry.recipe))


@dataclass
class Restorer:
    """Computes results of a session again.

    Attributes:
        session: what is computed is put beside its results, and nothing else is changed.
        compute: computes tasks of a frame, given its features.
        encode: encodes frames (B, 3, H, W).
        frames_at_once: how many frames are encoded together.
        keep: how many results of an object are kept so; those asked for are in any case.
    """

    session: SessionState
    compute: Compute
    encode: Encode
    frames_at_once: int
    keep: int

    def restore(self, needs: Needs) -> None:
        """Compute results again, and all that this takes. What is needed and at hand stays."""
        dropped = needs.dropped
        work = _Work(dropped)
        reverse = 2 * sum(one.recipe.reverse for one in dropped) > len(dropped)
        while work.missing:
            before = len(work.missing)
            for direction in (reverse, not reverse):
                self._run(work, work.ready(direction), direction)
            assert len(work.missing) < before, "results are computed from earlier ones"
        needed = needs.at_hand.union(one.source for one in dropped)
        for one in work.asked_last():
            self._keep(one, work.computed[one.source], needed)

    def _run(self, work: _Work, steps: dict[int, list[Dropped]], reverse: bool) -> None:
        """Visit frames in one direction, and compute what is ready there."""
        if not steps:
            return
        frames, direction = list(steps), -1 if reverse else 1
        one_pass = Pass(range(frames[0], frames[-1] + direction, direction), reverse, silent=True)
        cache = self.session.feature_cache

        def is_needed(frame_idx: int, _: Pass) -> bool:
            return frame_idx in steps and frame_idx not in cache

        with FrameReader(self.session, self.encode, is_needed, self.frames_at_once) as reader:
            for frame_idx in reader.frames(one_pass):
                if frame_idx in steps:
                    encoded = cache.get(frame_idx)
                    encoded = reader.features(frame_idx) if encoded is None else encoded
                    results = self.compute(encoded, [work.task(one) for one in steps[frame_idx]])
                    for one in steps[frame_idx]:
                        work.take(one, results[one.source].stored_on(self.session.inference_state_device), self.keep)

    def _keep(self, one: Dropped, recomputed: Recomputed, needed: set[Source]) -> None:
        """Put a result beside those of its object, in place of the oldest that is not needed."""
        kept = one.results.recomputed
        kept[one.source] = recomputed
        kept.move_to_end(one.source)
        droppable = [source for source in kept if source not in needed]
        for source in droppable[: max(0, len(kept) - self.keep)]:
            del kept[source]


class _Work:
    """What is still to be computed, and what is there to compute it from.

    Attributes:
        missing: results to compute, by source.
        computed: results that were computed: those asked for, and the last of the others.
    """

    def __init__(self, dropped: Sequence[Dropped]):
        self.missing: dict[Source, Dropped] = {}
        self.computed: dict[Source, Recomputed] = {}
        self._asked = {one.source for one in dropped}
        self._owners: dict[Source, Dropped] = {}
        self._features: dict[Source, Array] = {}
        self._readers: Counter[Source] = Counter()
        self._others: dict[int, list[Source]] = {}
        self._collect(dropped)

    def _collect(self, dropped: Sequence[Dropped]) -> None:
        """Find all results that have to be computed, back to where features are kept."""
        waiting = list(dropped)
        while waiting:
            one = waiting.pop()
            if one.source in self.missing:
                continue
            self.missing[one.source] = one
            self._readers.update(one.recipe.memories)
            for source in one.recipe.memories:
                if source in self.missing or source in self._features:
                    continue
                features = _features_at_hand(one.results, source)
                if features is not None:
                    self._features[source] = features
                else:
                    assert source.recipe is not None, "features without a recipe are never dropped"
                    waiting.append(Dropped(one.results, source, source.recipe))

    def ready(self, reverse: bool) -> dict[int, list[Dropped]]:
        """What can be computed in one pass, by frame in its order; objects in the order of their versions."""
        by_frame: dict[int, list[Dropped]] = {}
        for one in self.missing.values():
            by_frame.setdefault(one.source.frame, []).append(one)
        there = set(self._features)
        steps: dict[int, list[Dropped]] = {}
        for frame in sorted(by_frame, reverse=reverse):
            found = [one for one in by_frame[frame] if there.issuperset(one.recipe.memories)]
            if found:
                steps[frame] = sorted(found, key=lambda one: one.source.version)
                there.update(one.source for one in found)
        return steps

    def task(self, one: Dropped) -> Task:
        """The task that computes a result again."""
        recipe = one.recipe
        memories = {source: self._features[source] for source in recipe.memories}
        return Task(
            one.source,
            RecordedReads(memories, recipe),
            prompt=None,
            selection=recipe.selection,
            provenance=None,
            previous_logits=None,
            is_conditioning=False,
            tracked_in_reverse=recipe.reverse,
            policy_state=recipe.policy_state,
            key_scale=recipe.key_scale,
        )

    def take(self, one: Dropped, result: FrameResult, keep: int) -> None:
        """Take up a result, and drop what nobody reads any more."""
        source, features, logits = one.source, result.memory.features, result.mask_logits
        assert features is not None and logits is not None, "both are computed"
        del self.missing[source]
        self._owners[source], self._features[source] = one, features
        self.computed[source] = Recomputed(features, logits)
        for read in one.recipe.memories:
            self._readers[read] -= 1
            if not self._readers[read]:
                self._features.pop(read, None)
        if source not in self._asked:
            others = self._others.setdefault(id(one.results), [])
            others.append(source)
            if len(others) > keep:
                del self.computed[others.pop(0)]

    def asked_last(self) -> list[Dropped]:
        """What was computed and is still there, what was asked for at the end."""
        order = sorted(self.computed, key=lambda source: source in self._asked)
        return [self._owners[source] for source in order]


def _features_at_hand(results: ResultHistory, source: Source) -> Array | None:
    """The features of a result, if they are stored anywhere."""
    if source.features is not None:
        return source.features
    if source in results.recomputed:
        return results.recomputed[source].features
    entry = results.entry(source.frame)
    if not isinstance(entry, FrameResult):
        return None
    return next((path.memory.features for path in paths_of(entry) if path.source == source), None)
