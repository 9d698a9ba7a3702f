"""What is to be done in a frame: decided from the session alone, without a tensor.

The cost of a plan depends on the number of objects and on what they read, not on how many frames have passed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..arrays import Array
from .frame_result import FrameResult, paths_of
from .memory.policy import MemoryPolicy, PolicyState
from .memory.selection import MemorySelection
from .prompts import PointPrompt, Prompt
from .recipe import Provenance
from .result_history import (
    PathHistory,
    RecordedReads,
    ResultHistory,
    Results,
    WholeResults,
    provenance_of,
)

if TYPE_CHECKING:
    from ..configuration_sam2 import Sam2VideoConfig
    from .object_state import ObjectState
    from .session_state import SessionState

# Which objects a step is for: all; those with a pending prompt on the frame; those, and the ones whose first prompt
# lies further on; none, so that results are handed out as they are.
Scope = Literal["all", "prompts", "unprompted", "none"]


@dataclass(frozen=True)
class Task:
    """What one object needs in a frame.

    Attributes:
        obj_id: the object.
        history: the results that it reads, by frame.
        prompt: None for tracking.
        selection: what is read of the history; None if no memory is read.
        provenance: the selection with versions, for tracked results.
        previous_logits: (1, h, w), those that a click corrects.
        is_conditioning: whether the result will condition the object.
        tracked_in_reverse: the direction of tracking; None for a prompt where tracking has not passed.
        policy_state: what the memory policy knew after the frame passed before.
        key_scale: factors for the keys of the selected memories, if the policy has any.
        branches: whether the policy follows several paths of the object.
        others: what the other paths read, in the order of their numbers.
    """

    obj_id: Hashable
    history: Results | RecordedReads
    prompt: Prompt | None
    selection: MemorySelection | None
    provenance: Provenance | None
    previous_logits: Array | None
    is_conditioning: bool
    tracked_in_reverse: bool | None
    policy_state: PolicyState
    key_scale: Sequence[float] | None = None
    branches: bool = False
    others: tuple[Task, ...] = ()

    @property
    def paths(self) -> tuple[Task, ...]:
        """What all paths read."""
        return (self, *self.others)

    @property
    def num_points(self) -> int:
        """Number of points in the prompt, the corners of a box included."""
        return len(self.prompt.labels) if isinstance(self.prompt, PointPrompt) else 0


class StepPlan(NamedTuple):
    """`tasks` are to be computed; `tracked` are the objects that tracking passes, computed or still standing."""

    tasks: list[Task]
    tracked: list[Hashable]


def plan_step(
    config: Sam2VideoConfig,
    policy: MemoryPolicy,
    session: SessionState,
    frame_idx: int,
    reverse: bool = False,
    scope: Scope = "all",
) -> StepPlan:
    """Plan a frame.

    Nothing is to be done for results that still stand: conditioning frames, and tracked frames whose memories are
    what they were when the result was computed.

    Args:
        config: the model's configuration.
        policy: what objects read.
        session: the session, which is not changed.
        frame_idx: the index of the frame.
        reverse: whether the clip is tracked backwards.
        scope: which objects the step is for.
    """
    tasks: list[Task] = []
    tracked: list[Hashable] = []
    for obj_id, track in session.tracks.items():
        conditioning = track.results.conditioning
        if not _is_in_scope(scope, track, conditioning, frame_idx):
            continue
        if frame_idx in track.pending:
            tasks.append(_prompt_task(config, policy, obj_id, track, frame_idx))
        elif _is_tracked(config, track.results, frame_idx, reverse):
            task = _tracking_task(policy, obj_id, track.results, frame_idx, reverse)
            if task is not None:
                tasks.append(task)
        elif frame_idx not in conditioning:
            continue
        tracked.append(obj_id)
    return StepPlan(tasks, tracked)


def _is_in_scope(scope: Scope, track: ObjectState, conditioning: Collection[int], frame_idx: int) -> bool:
    if scope == "prompts":
        return frame_idx in track.pending
    if scope == "unprompted":
        return frame_idx in track.pending or min(conditioning, default=frame_idx) > frame_idx
    return scope == "all"


def _is_tracked(config: Sam2VideoConfig, results: ResultHistory, frame_idx: int, reverse: bool) -> bool:
    """Whether an object is tracked here: it has been prompted, neither here nor only further on."""
    conditioning = results.conditioning
    if not conditioning or (frame_idx in conditioning and not results[frame_idx].is_promoted):
        return False
    if config.track_before_first_prompt:
        return True
    return max(conditioning) > frame_idx if reverse else min(conditioning) < frame_idx


def _tracking_task(
    policy: MemoryPolicy, obj_id: Hashable, results: ResultHistory, frame_idx: int, reverse: bool
) -> Task | None:
    """The task of tracking an object here; None if its result was computed from what it would read now."""
    state = _state_before(policy, results, frame_idx, reverse)
    first, *others = (
        _path_task(policy, obj_id, history, state, frame_idx, reverse)
        for history in _path_histories(policy, results, state)
    )
    if _stands(policy, results, frame_idx, reverse, [first, *others]):
        return None
    return replace(first, branches=True, others=tuple(others)) if policy.overrides("branch") else first


def _path_task(
    policy: MemoryPolicy, obj_id: Hashable, history: Results, state: PolicyState, frame_idx: int, reverse: bool
) -> Task:
    """The task of tracking an object along one path."""
    selection = policy.select(history, frame_idx, reverse)
    state_of = _frame_before(frame_idx, reverse) if policy.overrides("observe") else None
    return Task(
        obj_id,
        history,
        prompt=None,
        selection=selection,
        provenance=provenance_of(history, selection, reverse, state_of),
        previous_logits=None,
        is_conditioning=False,
        tracked_in_reverse=reverse,
        policy_state=state,
        key_scale=_key_scale(policy, history, selection),
    )


def _path_histories(policy: MemoryPolicy, results: WholeResults, state: PolicyState) -> list[Results]:
    """The history of each path of an object; that of all results, if there are no paths."""
    paths = policy.paths(state)
    return [PathHistory(results, path) for path in paths] if paths else [results]


def _stands(policy: MemoryPolicy, results: ResultHistory, frame_idx: int, reverse: bool, tasks: Sequence[Task]) -> bool:
    """Whether the results of all paths were computed from what the paths that they come from would read now."""
    result = results.get(frame_idx)
    if result is None or result.provenance is None:
        return False
    state = result.policy_state
    parents = policy.parents(state) if state is not None and policy.owns(state) else (0,)
    entries = paths_of(result)
    return len(parents) == len(entries) and all(
        parent < len(tasks) and results.expand(entry).stands(reverse, tasks[parent].provenance or ())
        for parent, entry in zip(parents, entries, strict=True)
    )


def _prompt_task(
    config: Sam2VideoConfig, policy: MemoryPolicy, obj_id: Hashable, track: ObjectState, frame_idx: int
) -> Task:
    prompt, previous, before = track.prompts[frame_idx], track.results.shown(frame_idx), track.before_prompts()
    passed_in_reverse = None if previous is None else previous.tracked_in_reverse
    # Where tracking has passed, a prompt corrects what memory says; elsewhere it speaks alone.
    corrects = passed_in_reverse is not None
    reads_memory = corrects and isinstance(prompt, PointPrompt) and bool(before.conditioning)
    # What conditions an object goes on doing so when it is corrected, or nothing might be left that does.
    stays_conditioning = previous is not None and previous.is_conditioning
    reverse = bool(passed_in_reverse)
    state = _state_before(policy, before, frame_idx, reverse)
    state = policy.of_path(state, state.get("shown", 0))
    history, *_ = _path_histories(policy, before, state)
    selection = policy.select(history, frame_idx, reverse) if reads_memory else None
    return Task(
        obj_id,
        history,
        prompt,
        selection=selection,
        provenance=None,
        previous_logits=None if previous is None else previous.mask_logits,
        is_conditioning=stays_conditioning or not corrects or config.add_all_frames_to_correct_as_cond,
        tracked_in_reverse=passed_in_reverse,
        policy_state=state,
        key_scale=None if selection is None else _key_scale(policy, history, selection),
    )


def _key_scale(policy: MemoryPolicy, history: Results, selection: MemorySelection) -> Sequence[float] | None:
    """Factors for the keys of the selected memories; None if the policy leaves all keys as they are."""
    if not policy.overrides("key_scale"):
        return None
    return policy.key_scale(history, selection) or [1.0] * len(selection.memories)


def _state_before(
    policy: MemoryPolicy, results: Mapping[int, FrameResult], frame_idx: int, reverse: bool
) -> PolicyState:
    """What the policy knew of an object after the frame that tracking passed before this one.

    A frame that was tracked in the other direction was not passed before it.
    """
    before = results.get(_frame_before(frame_idx, reverse))
    if before is None or before.policy_state is None or not policy.owns(before.policy_state):
        return policy.new_state()
    was_passed = before.provenance is None or before.tracked_in_reverse == reverse
    return before.policy_state if was_passed else policy.new_state()


def _frame_before(frame_idx: int, reverse: bool) -> int:
    return frame_idx + 1 if reverse else frame_idx - 1
