"""How a step asks the memory policy: which masks are taken, and what is made of the results."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..arrays import Array, concatenate
from .frame_result import FrameResult
from .memory.candidates import MaskCandidates
from .memory.policy import MemoryPolicy, Observation, PolicyState, Sighting
from .plan import Task


def consult(
    policy: MemoryPolicy, states: Sequence[PolicyState], candidates: MaskCandidates
) -> tuple[Array, Array | None]:
    """Ask a policy which candidates are taken, and what it wants to know of them.

    Args:
        policy: the policy.
        states: what each of the N objects left in the frame before.
        candidates: M masks for each object. Of one alone, nothing is asked.

    Returns:
        The indices (N,) of the candidates, and what `MemoryPolicy.measure` gave, (N, K), or None.
    """
    single = candidates.ious.shape[1] == 1
    chosen = candidates.ious.argmax(-1) if single else policy.choose(states, candidates)
    return chosen, policy.measure(states, candidates, chosen) if policy.overrides("measure") else None


class ComputedFrame(NamedTuple):
    """What was computed in one frame of one session, before its policy took note of it.

    Attributes:
        policy: the session's policy.
        frame_idx: the index of the frame.
        tasks: what was computed.
        results: of the tasks, in their order.
        measured: what the policy measured on the mask of each task, (K,); None where no mask was predicted.
    """

    policy: MemoryPolicy
    frame_idx: int
    tasks: Sequence[Task]
    results: Sequence[FrameResult]
    measured: Sequence[Array | None]

    @property
    def is_read(self) -> bool:
        """Whether scores are read from the device for the policy."""
        return self.policy.reads_visibility or self.policy.overrides("observe")


def observe(frames: Sequence[ComputedFrame]) -> list[dict[Hashable, FrameResult]]:
    """Let policies take note of the results of frames. The device is waited for once, and only if a policy asks.

    Args:
        frames: frames of different sessions.

    Returns:
        For each frame the results with what its policy makes of them, by object.
    """
    values = iter(_read([frame for frame in frames if frame.is_read]))
    return [
        {
            task.obj_id: _seen(frame, task, result, next(values)) if frame.is_read else result
            for task, result in zip(frame.tasks, frame.results, strict=True)
        }
        for frame in frames
    ]


def _read(frames: Sequence[ComputedFrame]) -> list[list[float]]:
    """The scores of all results and what was measured on them, read from the device together."""
    rows = [
        [result.iou, result.object_score, *([] if measured is None else [measured])]
        for frame in frames
        for result, measured in zip(frame.results, frame.measured, strict=True)
    ]
    if not rows:
        return []
    values = concatenate([part for row in rows for part in row]).tolist()
    read, start = [], 0
    for row in rows:
        stop = start + sum(len(part) for part in row)
        read.append(values[start:stop])
        start = stop
    return read


def _seen(frame: ComputedFrame, task: Task, result: FrameResult, values: list[float]) -> FrameResult:
    """A result with its scores as plain numbers."""
    iou, object_score, *numbers = values
    result = replace(result, visible=object_score > 0)
    if not frame.policy.overrides("observe"):
        return result
    sighting = Sighting(frame.frame_idx, iou, object_score, task.prompt is not None, tuple(numbers))
    observed = _observed(result, frame.policy.observe(task.policy_state, sighting))
    return _with_parents(frame.policy, task, observed) if task.branches else observed


def _with_parents(policy: MemoryPolicy, task: Task, result: FrameResult) -> FrameResult:
    """Results of paths with what they were computed from, once it is known which paths those come from."""
    provenances = [task.paths[parent].provenance for parent in policy.parents(result.policy_state or {})]
    others = zip(result.alternatives, provenances[1:], strict=True)
    alternatives = tuple(replace(other, provenance=provenance) for other, provenance in others)
    return replace(result, provenance=provenances[0], alternatives=alternatives)


def _observed(result: FrameResult, observation: Observation) -> FrameResult:
    """A result with what the policy makes of it."""
    return replace(
        result,
        policy_state=observation.state,
        is_conditioning=result.is_conditioning or observation.promotes,
        visible=result.visible if observation.visible is None else observation.visible,
    )
