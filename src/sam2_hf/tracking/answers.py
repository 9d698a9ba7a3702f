"""Which path of an object is shown, where a memory policy follows several: decided by frames that come later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .memory.policy import MemoryPolicy
from .object_state import ObjectState
from .step import FrameRequest, FrameStep


class Answers:
    """Hands out the frames of a pass once it is known what is shown of them.

    Invariant: `_waiting` are requests of one pass that were computed and not handed out, in its order.

    Args:
        step: of the session.
    """

    def __init__(self, step: FrameStep):
        self._session, self._policy = step.session, step.policy
        self._delay = step.policy.answer_delay(keeps_masks=step.session.retention != "readable")
        self._waiting: deque[FrameRequest] = deque()

    def add(self, request: FrameRequest) -> Iterator[FrameRequest]:
        """Take up a request that was computed.

        Returns:
            Those of which is known now what is shown.
        """
        if self._waiting and not _is_next(request, self._waiting[-1]):
            yield from self.finish()
        self._waiting.append(request)
        while self._delay is not None and len(self._waiting) > self._delay:
            self._settle(1)
            yield self._waiting.popleft()

    def finish(self) -> Iterator[FrameRequest]:
        """End the pass, and return the requests that are left."""
        self._settle(len(self._waiting))
        while self._waiting:
            yield self._waiting.popleft()

    def _settle(self, count: int) -> None:
        """Note what is shown of the first frames, going back from the last one."""
        if len(self._waiting) < 2 or self._waiting[0].scope == "none":
            return
        frames = [request.frame_idx for request in self._waiting]
        reverse = self._waiting[0].reverse
        for track in self._session.tracks.values():
            for position, number in enumerate(_best_path(self._policy, track, frames, reverse)[:count]):
                if number is not None:
                    track.results.show(frames[position], number)


def _best_path(policy: MemoryPolicy, track: ObjectState, frames: list[int], reverse: bool) -> list[int | None]:
    """The path of each frame that leads to the best one of the last frame; None where there is nothing to choose."""
    numbers: list[int | None] = []
    number = 0
    for frame in reversed(frames):
        entry = track.results.entry(frame)
        state = None if entry is None else entry.policy_state
        if entry is None or state is None or not policy.owns(state) or entry.tracked_in_reverse not in (reverse, None):
            numbers.append(None)
            number = 0
            continue
        parents = policy.parents(state)
        number = min(number, len(parents) - 1)
        numbers.append(number)
        # What leads to a prompt is what was best before it.
        number = 0 if entry.provenance is None else parents[number]
    return numbers[::-1]


def _is_next(request: FrameRequest, before: FrameRequest) -> bool:
    """Whether a request goes on with the pass of the one before."""
    step = -1 if request.reverse else 1
    alike = (request.reverse, request.scope, request.silent) == (before.reverse, before.scope, before.silent)
    return alike and request.frame_idx == before.frame_idx + step
