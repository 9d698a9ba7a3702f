"""What is remembered of one object: which results a change leaves standing, and what may be forgotten."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_hf.tracking.batch import features_of
from sam2_hf.tracking.frame_result import FrameMemory, FrameResult
from sam2_hf.tracking.memory.recent import RecentMemory
from sam2_hf.tracking.memory.visible import VisibleMemory
from sam2_hf.tracking.object_state import ObjectState
from sam2_hf.tracking.prompts import MaskPrompt, PointPrompt
from sam2_hf.tracking.result_history import provenance_of
from sam2_hf.tracking.stored_tensors import MEMORY_DTYPE

POLICY = RecentMemory(num_maskmem=3, max_object_pointers=5)


def click(x: float = 1.0, label: int = 1) -> PointPrompt:
    return PointPrompt(torch.tensor([[x, 2.0]]), torch.tensor([label]))


def result(version: int = 0, **facts) -> FrameResult:
    memory = FrameMemory(torch.full((2, 1, 1), float(version)), torch.zeros(4))
    facts = {"is_conditioning": False, "tracked_in_reverse": False, **facts}
    return FrameResult(torch.zeros(1, 2, 2), torch.ones(1), torch.ones(1), memory, version=version, **facts)


def conditioning(version: int = 0, **facts) -> FrameResult:
    return result(version, is_conditioning=True, **{"tracked_in_reverse": None, **facts})


def tracked_object(prompted=(0,), tracked=(), reverse=()) -> ObjectState:
    """An object with results whose versions are their frames' numbers."""
    track = ObjectState()
    for frame in prompted:
        track.prompts[frame] = click()
        track.results[frame] = conditioning(frame)
    for frame in (*tracked, *reverse):
        track.results[frame] = result(frame, provenance=((), ()), tracked_in_reverse=frame in reverse)
    return track


class TestPrompts:
    def test_points_join_points(self) -> None:
        joined = click(1).followed_by(click(5, label=0))
        assert joined.points.tolist() == [[1, 2], [5, 2]] and joined.labels.tolist() == [1, 0]

    @pytest.mark.parametrize("keep, expected", [(True, 2), (False, 1)])
    def test_a_second_prompt_on_a_frame_joins_or_replaces_the_first(self, keep: bool, expected: int) -> None:
        track = ObjectState()
        track.add_prompt(3, click())
        track.add_prompt(3, click(), keep_old_points=keep)
        assert len(track.prompts[3].labels) == expected and track.pending == {3}

    def test_points_replace_a_mask(self) -> None:
        track = ObjectState()
        track.add_prompt(3, MaskPrompt(torch.ones(2, 2, dtype=torch.bool)))
        track.add_prompt(3, click(), keep_old_points=True)
        assert isinstance(track.prompts[3], PointPrompt)

    @pytest.mark.parametrize("prompt", [click(), MaskPrompt(torch.ones(2, 2, dtype=torch.bool))])
    def test_a_stored_prompt_shares_no_memory_with_the_callers(self, prompt) -> None:
        stored = prompt.stored_on(torch.device("cpu"))
        for mine, theirs in zip(stored.tensors(), prompt.tensors(), strict=True):
            assert mine.data_ptr() != theirs.data_ptr() and mine.equal(theirs)


class TestResults:
    def test_a_result_is_stored_as_a_copy_with_its_memory_in_half_the_space(self) -> None:
        batch = torch.arange(8.0).view(2, 2, 2, 1)
        row = FrameResult(batch[1], batch[1, 0, 0], batch[1, 0, 0], FrameMemory(batch[1], batch[1, 0, 0]), True)
        stored = row.stored_on(torch.device("cpu"))
        for tensor in stored.tensors():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes, "a view would keep the whole batch alive"
        assert stored.memory.features.dtype == MEMORY_DTYPE == torch.bfloat16
        assert stored.mask_logits.dtype == torch.float32 and stored.mask_logits.equal(batch[1])

    def test_a_prompted_result_replaces_a_tracked_one_and_joins_the_conditioning_frames_last(self) -> None:
        # With a cap, of two conditioning frames at the same distance the one that was prompted first is read.
        track = tracked_object(prompted=[4], tracked=[2, 6])
        track.add_prompt(6, click())
        track.add_result(6, conditioning(7))
        track.add_result(2, conditioning(8))
        assert track.results.conditioning == [4, 6, 2]
        assert not track.pending and not track.results.tracked_among(range(9))

    def test_a_correction_of_a_conditioning_frame_keeps_its_rank(self) -> None:
        track = tracked_object(prompted=[4, 6])
        track.add_result(4, conditioning(9))
        assert track.results.conditioning == [4, 6]

    def test_tensors_are_all_there_is(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2])
        assert len(list(track.tensors())) == 2 + 3 * 5


class TestProvenance:
    def test_it_names_what_is_read_with_its_version(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2])
        selection = POLICY.select(track.results, 3, reverse=False)
        assert provenance_of(track.results, selection, False) == (((0, 0), (1, 1), (2, 2)), ((0, 0), (1, 1), (2, 2)))

    def test_a_changed_memory_changes_it(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2])
        before = provenance_of(track.results, POLICY.select(track.results, 3, False), False)
        track.results[1] = result(9)
        assert provenance_of(track.results, POLICY.select(track.results, 3, False), False) != before

    def test_what_was_tracked_the_other_way_is_read_but_makes_nothing_stale(self) -> None:
        track = tracked_object(prompted=[4])
        before = provenance_of(track.results, POLICY.select(track.results, 5, False), False)
        track.results[3] = result(3, tracked_in_reverse=True)
        selection = POLICY.select(track.results, 5, False)
        assert 3 in [slot.frame for slot in selection.memories]
        assert provenance_of(track.results, selection, False) == before
        assert provenance_of(track.results, POLICY.select(track.results, 2, True), True) == (
            ((4, 4), (3, 3)),
            ((4, 4), (3, 3)),
        )

    def test_a_result_stands_while_direction_memories_and_mask_are_there(self) -> None:
        read = (((0, 1),), ((0, 1),))
        standing = result(provenance=read)
        assert standing.stands(False, read)
        assert not standing.stands(True, read)
        assert not standing.stands(False, (((0, 2),), ((0, 2),)))
        assert not FrameResult(**{**vars(standing), "mask_logits": None}).stands(False, read)


class TestCorrecting:
    """Prompts read what the object was when it was last tracked."""

    def test_prompts_do_not_read_each_other(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2, 3, 4])
        before = dict(track.before_prompts())
        for version, frame in enumerate((3, 1, 3, 0), start=10):
            track.add_result(frame, conditioning(version))
        assert track.results.conditioning == [0, 3, 1] and track.before_prompts() == before

    def test_a_first_prompt_is_not_there_for_the_next(self) -> None:
        track = ObjectState()
        track.add_result(3, conditioning())
        assert dict(track.before_prompts()) == {} and track.before_prompts().conditioning == []

    def test_tracking_reads_them_all_and_from_then_on_prompts_do(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2, 3])
        track.add_result(3, conditioning(9))
        track.add_result(4, result(10, provenance=((), ())))
        assert track.superseded == {} and track.before_prompts() == track.results

    def test_a_correction_taken_back_brings_the_tracked_result_back(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2, 3])
        before = copy.deepcopy(track)
        for version in (8, 9):
            track.add_prompt(2, click())
            track.add_result(2, conditioning(version))
        track.take_back_prompt(2)
        assert track.results.keys() == before.results.keys() and track.results[2].version == 2
        assert not track.superseded and track.prompts.keys() == {0}

    def test_a_corrected_prompt_taken_back_does_not_bring_the_first_back(self) -> None:
        track = tracked_object(prompted=[0, 3], tracked=[1])
        track.add_prompt(3, click())
        track.add_result(3, conditioning(9))
        track.take_back_prompt(3)
        assert track.results.keys() == {0, 1} and not track.superseded

    def test_tensors_of_superseded_results_count(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1])
        track.add_result(1, conditioning(9))
        assert len(list(track.tensors())) == 2 + 2 * 5 + 5


class TestTakingBack:
    def test_the_only_prompt_leaves_nothing(self) -> None:
        track = tracked_object(prompted=[2], tracked=[3, 4], reverse=[0, 1])
        track.take_back_prompt(2)
        assert track == ObjectState()

    def test_a_pending_prompt_leaves_the_tracked_result(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2])
        before = copy.deepcopy(track)
        track.add_prompt(2, click())
        track.take_back_prompt(2)
        assert track.results.keys() == before.results.keys() and track.prompts.keys() == {0} and not track.pending

    def test_a_prompt_pending_on_a_prompted_frame_takes_the_frame_with_it(self) -> None:
        track = tracked_object(prompted=[0, 2], tracked=[1])
        track.add_prompt(2, click())
        track.take_back_prompt(2)
        assert track.results.keys() == {0, 1} and track.prompts.keys() == {0} and not track.pending

    def test_what_another_prompt_supports_stays(self) -> None:
        track = tracked_object(prompted=[0, 4], tracked=[1, 5], reverse=[3])
        track.take_back_prompt(4)
        assert track.results.keys() == {0, 1, 5}

    def test_what_only_it_supported_goes(self) -> None:
        track = tracked_object(prompted=[2, 6], tracked=[3, 4, 7], reverse=[1, 5])
        track.take_back_prompt(2)
        assert track.results.keys() == {6, 7, 1, 5}

    def test_a_correction_without_anything_to_correct_waits_to_be_segmented_by_itself(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1])
        track.prompts[3] = click()
        track.results[3] = result(3)  # prompted, but not conditioning
        track.take_back_prompt(0)
        assert track.results == {} and track.pending == {3}

    def test_a_frame_without_prompt_is_left_alone(self) -> None:
        track = tracked_object(prompted=[0], tracked=[1, 2])
        track.take_back_prompt(1)
        track.take_back_prompt(9)
        assert track.results.keys() == {0, 1, 2}

    def test_a_prompt_that_was_forgotten_can_be_taken_back(self) -> None:
        # A stream forgets the prompt of a frame that has passed, but not what came of it.
        track = tracked_object(prompted=[0, 3], tracked=[1, 2, 4])
        track.prompts.clear()
        track.take_back_prompt(3)
        assert track.results.conditioning == [0]


class TestReleasing:
    def test_what_was_tracked_stays_and_the_result_no_longer_conditions(self) -> None:
        track = tracked_object(prompted=[0, 4], tracked=[1, 5])
        track.release_prompt(4)
        assert track.results.keys() == {0, 1, 4, 5} and track.prompts.keys() == {0}
        assert track.results.conditioning == [0] and track.results[4].tracked_in_reverse is None

    @pytest.mark.parametrize("before", [None, result(2, provenance=((), ()))])
    def test_a_result_that_nothing_was_tracked_from_gives_way_to_the_one_before(self, before) -> None:
        track = tracked_object(prompted=[0])
        if before is not None:
            track.results[2] = before
        track.add_prompt(2, click())
        track.add_result(2, conditioning(5))
        track.release_prompt(2)
        assert track.results.get(2) is before and track.prompts.keys() == {0} and not track.superseded


class TestForgetting:
    def test_a_stream_keeps_what_the_frame_and_those_after_it_read(self) -> None:
        track = tracked_object(prompted=[0], tracked=range(1, 21))
        track.forget_unreadable(POLICY, 20, reverse=False, keep_prompted=False)
        assert track.results.keys() == {0, *range(16, 21)}
        assert [frame for frame, result in track.results.items() if result.memory.features is not None] == [
            0,
            18,
            19,
            20,
        ]
        assert [frame for frame, result in track.results.items() if result.mask_logits is not None] == [20]
        assert not track.prompts

    def test_frames_ahead_are_left_alone(self) -> None:
        track = tracked_object(prompted=[0, 30], tracked=[*range(1, 21), 25])
        track.pending.add(40)
        track.prompts[40] = click()
        track.forget_unreadable(POLICY, 20, reverse=False, keep_prompted=False)
        assert track.results[25].mask_logits is not None and track.results[30].mask_logits is not None
        assert track.prompts.keys() == {30, 40}

    def test_a_clip_keeps_prompts_and_masks_of_conditioning_frames(self) -> None:
        track = tracked_object(prompted=[0], tracked=range(1, 21))
        track.forget_unreadable(POLICY, 20, reverse=False, keep_prompted=True)
        assert track.results[0].mask_logits is not None and track.prompts.keys() == {0}
        assert track.results[19].mask_logits is None

    @settings(max_examples=80, deadline=None)
    @given(
        prompted=st.sets(st.integers(0, 30), min_size=1, max_size=5),
        steps=st.integers(1, 12),
        reverse=st.booleans(),
        cap=st.sampled_from([-1, 2, 3]),
        hidden=st.none() | st.sets(st.integers(0, 30)),
    )
    def test_forgetting_never_changes_what_is_read(self, prompted, steps, reverse, cap, hidden) -> None:
        policy = (RecentMemory if hidden is None else VisibleMemory)(3, max_object_pointers=5, max_cond_frame_num=cap)
        whole, pruned = tracked_object(prompted=sorted(prompted)), tracked_object(prompted=sorted(prompted))
        order = range(30, 30 - steps, -1) if reverse else range(steps)
        for frame in order:
            for track in (whole, pruned):
                if frame not in prompted:
                    score = torch.tensor([-1.0 if frame in (hidden or ()) else 1.0])
                    track.add_result(frame, replace(result(frame, tracked_in_reverse=reverse), object_score=score))
            pruned.forget_unreadable(policy, frame, reverse, keep_prompted=False)
            # What a correction of this frame reads, and what the next one does.
            for reader in (frame, frame - 1 if reverse else frame + 1):
                selection = policy.select(whole.results, reader, reverse)
                assert policy.select(pruned.results, reader, reverse) == selection
                for slot in selection.memories:
                    (kept,), (other,) = (features_of([each.results[slot.frame]]) for each in (pruned, whole))
                    assert kept.equal(other)
