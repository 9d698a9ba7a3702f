"""Orders of an object's results: the same answers as from plain sets of frames, at the same cost after any number."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_hf.tracking.frame_result import FrameMemory, FrameResult
from sam2_hf.tracking.memory.dam4sam import DistractorAwareMemory
from sam2_hf.tracking.memory.history import FrameRuns, FrameSets
from sam2_hf.tracking.memory.policy import MemoryPolicy
from sam2_hf.tracking.memory.recent import RecentMemory
from sam2_hf.tracking.memory.visible import VisibleMemory
from sam2_hf.tracking.object_state import ObjectState
from sam2_hf.tracking.result_history import ResultHistory, SupersededHistory, provenance_of

LAST = 30
MEMORY = FrameMemory(torch.zeros(2, 1, 1), torch.zeros(4))
frames = st.integers(0, LAST)
# Frame, whether it shows the object, and what becomes of it.
events = st.lists(st.tuples(frames, st.booleans(), st.sampled_from(["tracked", "prompted", "gone"])), max_size=40)


def result(shows: bool = True, conditions: bool = False) -> FrameResult:
    score = torch.tensor([1.0 if shows else -1.0])
    return FrameResult(torch.zeros(1, 2, 2), score, torch.ones(1), MEMORY, conditions)


def played(events: list) -> tuple[ResultHistory, FrameSets]:
    """A history after some events, and the same as plain sets."""
    history, conditioning, tracked, visible = ResultHistory(), [], set(), set()
    for frame, shows, event in events:
        for kind in (tracked, visible):
            kind.discard(frame)
        if event != "prompted" and frame in conditioning:
            conditioning.remove(frame)
        if event == "gone":
            history.pop(frame, None)
            continue
        history[frame] = result(shows, event == "prompted")
        if shows:
            visible.add(frame)
        if event == "tracked":
            tracked.add(frame)
        elif frame not in conditioning:
            conditioning.append(frame)
    return history, FrameSets(conditioning, tracked, visible)


def assert_answers_alike(history: Any, expected: FrameSets) -> None:
    assert history.conditioning == expected.conditioning
    assert history.tracked_among(range(-1, LAST + 2)) == expected.tracked_among(range(-1, LAST + 2))
    for frame in range(-1, LAST + 2):
        for reverse in (False, True):
            for count in (0, 1, 3, LAST):
                assert history.visible_before(frame, count, reverse) == expected.visible_before(frame, count, reverse)


class TestFrameRuns:
    @given(st.lists(st.tuples(frames, st.booleans())), frames, st.integers(0, 8), st.booleans())
    def test_a_set_by_another_name(self, changes, frame, count, reverse) -> None:
        runs, plain = FrameRuns(), set()
        for other, stays in changes:
            (runs.add if stays else runs.discard)(other)
            (plain.add if stays else plain.discard)(other)
        passed = [other for other in plain if (other > frame if reverse else other < frame)]
        assert runs.before(frame, count, reverse) == sorted(passed, reverse=not reverse)[:count]
        assert runs.before(-1 if reverse else LAST + 1, LAST + 1, reverse) == sorted(plain, reverse=not reverse)

    def test_consecutive_frames_are_one_run_in_whatever_order_they_come(self) -> None:
        for order in (range(100), reversed(range(100)), [*range(0, 100, 2), *range(1, 100, 2)]):
            runs = FrameRuns()
            for frame in order:
                runs.add(frame)
            assert (runs._starts, runs._stops) == ([0], [100])


class TestHistories:
    @given(events)
    def test_results_answer_as_plain_sets_do(self, events) -> None:
        assert_answers_alike(*played(events))

    @settings(deadline=None)
    @given(events, st.dictionaries(frames, st.sampled_from(["none", "hidden", "visible"]), max_size=4), st.booleans())
    def test_superseded_results_answer_as_if_their_prompts_had_not_come(self, events, before, conditions) -> None:
        """Prompts on some frames, whose results replaced what the events had left there."""
        present, _ = played(events)
        for frame in before:
            present[frame] = result(conditions=True)
        superseded = {
            frame: None if old == "none" else result(old == "visible", conditions) for frame, old in before.items()
        }
        plain = {frame: superseded.get(frame, other) for frame, other in present.items()}
        plain = {frame: other for frame, other in plain.items() if other is not None}
        history = SupersededHistory(present, superseded)
        assert dict(history) == plain and len(history) == len(plain)
        conditioning = [frame for frame in present.conditioning if frame in plain and plain[frame].is_conditioning]
        tracked = {frame for frame, other in plain.items() if not other.is_conditioning}
        visible = {frame for frame, other in plain.items() if other.is_visible}
        assert_answers_alike(history, FrameSets(conditioning, tracked, visible))

    def test_what_was_read_of_the_device_is_not_read_again(self, monkeypatch) -> None:
        history, read = ResultHistory(), []
        visible = property(lambda self: read.append(self) or True)
        monkeypatch.setattr(FrameResult, "is_visible", visible)
        for frame in range(10):
            history[frame] = result()
            history.visible_before(frame + 1, 3, reverse=False)
        assert len(read) == 10


def operations(function: Callable[[], Any]) -> int:
    """How many lines of Python a call runs: the same on any machine."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


class TestCost:
    """Planning a frame costs the same after any number of frames."""

    def object_after(self, num_frames: int, reverse: bool) -> tuple[ObjectState, int]:
        """An object that was prompted once and tracked for so many frames, hidden in one of ten, and the next frame."""
        track, first = ObjectState(), 10**6
        track.results[first] = result(conditions=True)
        step = -1 if reverse else 1
        for age in range(1, num_frames):
            track.results[first + age * step] = result(shows=age % 10 > 0)
        return track, first + num_frames * step

    def cost(self, policy: MemoryPolicy, num_frames: int, reverse: bool) -> tuple[int, int]:
        """Operations of the selection for a tracked frame, and for a correction of the frame before it."""
        track, frame = self.object_after(num_frames, reverse)
        newest = frame + (1 if reverse else -1)
        track.results.visible_before(frame, 1, reverse)  # as each step before this one has done

        def plan() -> None:
            provenance_of(track.results, policy.select(track.results, frame, reverse), reverse)

        tracked = operations(plan)
        track.add_result(newest, result(conditions=True))
        track.results.visible_before(frame, 1, reverse)
        return tracked, operations(lambda: policy.select(track.before_prompts(), newest, reverse))

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize(
        "policy", [RecentMemory(), VisibleMemory(), RecentMemory(max_cond_frame_num=4), DistractorAwareMemory()]
    )
    def test_after_many_frames_it_is_what_it_was_after_few(self, policy, reverse) -> None:
        self.cost(policy, 100, reverse)  # what is computed once in a process is computed
        assert self.cost(policy, 10_000, reverse) == self.cost(policy, 100, reverse)

    @pytest.mark.parametrize("policy", [RecentMemory(), VisibleMemory()])
    def test_forgetting_costs_the_same_in_an_endless_stream(self, policy) -> None:
        track, costs = ObjectState(), {}
        track.results[0] = result(conditions=True)
        for frame in range(1, 2000):
            track.results[frame] = result(shows=frame % 50 > 10)
            forget = operations(lambda frame=frame: track.forget_unreadable(policy, frame, False, keep_prompted=False))
            costs[frame] = forget
        assert costs[1950] == costs[150]
        assert len(track.results) < 30
