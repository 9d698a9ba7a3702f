"""How a step asks the memory policy: which masks are taken, and what is made of the results."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

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


def observe(
    policy: MemoryPolicy,
    frame_idx: int,
    tasks: Sequence[Task],
    results: Mapping[Hashable, FrameResult],
    measured: Mapping[Hashable, Array],
) -> dict[Hashable, FrameResult]:
    """Let a policy take note of the results of a frame. The device is waited for once, and only if the policy asks.

    Args:
        policy: the policy.
        frame_idx: the index of the frame.
        tasks: what was computed.
        results: of the tasks, in their order.
        measured: what the policy measured on masks that were predicted, (K,) an object.

    Returns:
        The results with what the policy makes of them.
    """
    observes = policy.overrides("observe")
    if not observes and not policy.reads_visibility:
        return dict(results)
    observed = {}
    for task, (result, seen) in zip(tasks, _read(results, measured), strict=True):
        iou, object_score, *numbers = seen
        result = replace(result, visible=object_score > 0)
        if observes:
            sighting = Sighting(frame_idx, iou, object_score, task.prompt is not None, tuple(numbers))
            result = _observed(result, policy.observe(task.policy_state, sighting))
        observed[task.obj_id] = result
    return observed


def _read(
    results: Mapping[Hashable, FrameResult], measured: Mapping[Hashable, Array]
) -> list[tuple[FrameResult, list[float]]]:
    """The scores of results and what was measured on them, read from the device together."""
    rows = [
        [result.iou, result.object_score, *([measured[obj_id]] if obj_id in measured else [])]
        for obj_id, result in results.items()
    ]
    values = concatenate([part for row in rows for part in row]).tolist()
    read, start = [], 0
    for result, row in zip(results.values(), rows, strict=True):
        stop = start + sum(len(part) for part in row)
        read.append((result, values[start:stop]))
        start = stop
    return read


def _observed(result: FrameResult, observation: Observation) -> FrameResult:
    """A result with what the policy makes of it."""
    return replace(
        result,
        policy_state=observation.state,
        is_conditioning=result.is_conditioning or observation.promotes,
        visible=result.visible if observation.visible is None else observation.visible,
    )
