"""Steps of several sessions in one batch: each gets what it gets alone, and fails alone."""

from __future__ import annotations

import itertools
import threading

import pytest
from closeness import assert_close_in_scale
from sessions_together import POLICIES, TOLERANCE, assert_near, by_session, damaged, images, opened
from video_scenes import (
    PROCESSOR,
    collect,
    counted,
    give,
    pixels,
    snapshot,
    tiny_model,
    track,
)

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.processing_sam2_video import Sam2VideoProcessor
from sam2_hf.tracking import batch
from sam2_hf.tracking.attempts import attempt_together
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.tracking.step import FrameStep
from sam2_hf.video_io.open_video import VideoDecodingError


class TestStep:
    def test_a_step_of_several_sessions_is_one_batch(self, monkeypatch) -> None:
        model, sessions = tiny_model(), [opened(shift) for shift in range(3)]
        model.step(sessions)
        names = ("condition_on_memory", "segment", "encode_memory")
        with counted(model, monkeypatch, *names) as calls:
            outputs = model.step(sessions)
        assert {name: len(made) for name, made in calls.items()} == dict.fromkeys(names, 1)
        assert len(calls["condition_on_memory"][0][1].tokens) == 3
        assert [output.frame_idx for output in outputs] == [1, 1, 1]

    def test_frames_are_encoded_in_one_batch_where_that_pays(self, monkeypatch) -> None:
        model, sessions = tiny_model(), [opened(shift) for shift in range(5)]
        expected = [track(model, opened(shift), max_frame_num_to_track=1) for shift in range(5)]
        monkeypatch.setattr(FrameStep, "frames_at_once", 4)
        with counted(model, monkeypatch, "encode_frame") as calls:
            outputs = [model.step(sessions) for _ in range(2)]
        assert [len(pixels) for (pixels,) in calls["encode_frame"]] == [4, 1, 4, 1]
        for number, masks in enumerate(expected):
            assert_near(collect(output[number] for output in outputs), masks)

    def test_first_prompts_give_the_same_bits_as_alone(self) -> None:
        model, kinds = tiny_model(), ("click", "box", "mask", "clicks")
        sessions = [opened(shift, (0, "a", kind)) for shift, kind in enumerate(kinds)]
        for number, output in enumerate(model.step(sessions)):
            alone = model(opened(number, (0, "a", kinds[number])), frame_idx=0)
            assert output.pred_masks.equal(alone.pred_masks)

    def test_sessions_of_all_kinds_go_together(self) -> None:
        def open_all() -> list[Sam2VideoInferenceSession]:
            prompts = ((0, "a"), (0, "b", "box")), ((0, "c", "mask"),), ((1, "a", "box"), (0, "d", "clicks"))
            more = ({"scale": 2}, {"num_frames": 3}, {"retention": "everything"}, {"retention": "readable"})
            policies = zip(itertools.cycle(prompts), itertools.cycle(more), POLICIES, strict=False)
            return [
                opened(number, *some, **kind, memory_policy=policy)
                for number, (some, kind, policy) in enumerate(policies)
            ]

        model, sessions = tiny_model(), open_all()
        together = by_session(model.track_together(sessions), sessions)
        for masks, session in zip(together, open_all(), strict=True):
            assert_near(masks, track(model, session))

    def test_streams_take_their_frames(self) -> None:
        model, sessions = tiny_model(), [PROCESSOR.init_video_session() for _ in range(2)]
        alone = [PROCESSOR.init_video_session() for _ in range(2)]
        seen: list[list] = [[], [], [], []]
        for index in range(3):
            outputs = model.step(sessions, frames=[pixels(index), pixels(index + 1)])
            outputs += [model(session, frame=pixels(index + number)) for number, session in enumerate(alone)]
            if index == 0:
                for number, session in enumerate((*sessions, *alone)):
                    give(session, 0, "a", ("click", "box")[number % 2])
            for of_session, output in zip(seen, outputs, strict=True):
                of_session.append(output)
        for number in range(2):
            assert_near(collect(seen[number]), collect(seen[number + 2]))
            assert sessions[number].newest_streamed == 2

    def test_each_session_has_its_frame_and_goes_on_from_it(self) -> None:
        model, sessions = tiny_model(), [opened(), opened(1, (2, "a"))]
        assert [output.frame_idx for output in model.step(sessions)] == [0, 2]
        assert [output.frame_idx for output in model.step(sessions, frame_idx=[None, 4])] == [1, 4]
        assert [output.frame_idx for output in model.step(sessions, reverse=True)] == [0, 3]
        assert [output.frame_idx for output in model.step(sessions, frame_idx=1)] == [1, 1]

    def test_where_a_session_was_is_saved(self, tmp_path) -> None:
        model, session = tiny_model(), opened()
        model.step([session])
        session.save(tmp_path)
        loaded = Sam2VideoInferenceSession.load(tmp_path, images(0))
        assert [output.frame_idx for output in model.step([loaded, session])] == [1, 1]

    def test_frames_that_are_not_remembered_leave_the_sessions_as_they_were(self) -> None:
        model, sessions = tiny_model(), [opened(), opened(1)]
        model.step(sessions)
        before = [snapshot(session) for session in sessions]
        shown = model.step(sessions, frame_idx=1, run_mem_encoder=False)
        assert [snapshot(session) for session in sessions] == before
        for output, kept in zip(shown, model.step(sessions), strict=True):
            assert output.pred_masks.equal(kept.pred_masks)

    def test_many_objects_are_not_joined(self, monkeypatch) -> None:
        monkeypatch.setattr(batch, "OBJECTS_TOGETHER", 3)
        model, prompts = tiny_model(), ((0, "a"), (0, "b", "box"))
        sessions = [opened(0), opened(1, *prompts), opened(2), opened(3, *prompts, (0, "c"), (0, "d"))]
        model.step(sessions)
        with counted(model, monkeypatch, "encode_memory") as calls:
            model.step(sessions)
        assert [len(logits) for _, logits, *_ in calls["encode_memory"]] == [3, 1, 4]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (lambda one, other: ([one, one],), ValueError, "got one of them twice"),
            (lambda one, other: ([one, "other"],), TypeError, "must be a Sam2VideoInferenceSession, got str"),
            (
                lambda one, other: ([one, other], [1]),
                ValueError,
                "frame_idx must have one value for each of 2 sessions",
            ),
            (lambda one, other: ([one, other], None, [None]), ValueError, "frames must have one value for each of 2"),
        ],
    )
    def test_wrong_arguments_are_named(self, arguments, error, message) -> None:
        sessions = [opened(), opened(1)]
        before = [snapshot(session) for session in sessions]
        with pytest.raises(error, match=message):
            tiny_model().step(*arguments(*sessions))
        assert [snapshot(session) for session in sessions] == before

    def test_no_sessions_are_no_work(self) -> None:
        assert tiny_model().step([]) == []


class TestFailures:
    def test_a_damaged_frame_is_the_error_of_its_session_alone(self) -> None:
        model, bad, good = tiny_model(), damaged(at=1), opened(1)
        model.step([bad, good])
        before = snapshot(bad)
        error, output = model.step([bad, good], return_exceptions=True)
        assert isinstance(error, VideoDecodingError) and error.index == 1
        assert snapshot(bad) == before
        assert_close_in_scale(output.pred_masks, track(model, opened(1))[1]["a"][None], TOLERANCE)

    def test_a_session_for_a_model_of_another_size_is_the_only_one_that_fails(self) -> None:
        small = Sam2VideoProcessor(Sam2ImageProcessor(size={"height": 64, "width": 64}))
        other, good = small.init_video_session(images(0)), opened(1)
        give(other, 0, "a")
        error, output = tiny_model().step([other, good], return_exceptions=True)
        assert isinstance(error, ValueError) and "pixel_values must have the configured shape" in str(error)
        assert output.frame_idx == 0 and other.last_visited is None

    def test_an_error_is_raised_when_the_others_are_done(self) -> None:
        model, bad, good = tiny_model(), damaged(at=1), opened(1)
        model.step([bad, good])
        with pytest.raises(VideoDecodingError):
            model.step([bad, good])
        assert good.last_visited == 1 and 1 in good.tracks["a"].results

    def test_what_fails_in_the_batch_fails_for_as_few_as_possible(self, monkeypatch) -> None:
        """As where memory suffices for some of the sessions at a time, or a policy of one has a fault."""
        model, sessions = tiny_model(), [opened(shift) for shift in range(4)]
        model.step(sessions)
        read, sizes = model.read_memories, []

        def read_some(features, stored, key_scale=None):
            sizes.append(len(stored.features))
            if len(stored.features) > 2:
                raise MemoryError
            return read(features, stored, key_scale)

        monkeypatch.setattr(model, "read_memories", read_some)
        outputs = model.step(sessions)
        assert sizes == [4, 2, 2]
        for number, output in enumerate(outputs):
            assert_close_in_scale(output.pred_masks, track(model, opened(number))[1]["a"][None], TOLERANCE)

    def test_halves_are_tried_down_to_what_fails_by_itself(self) -> None:
        tried = []

        def doubled(numbers):
            tried.append(list(numbers))
            if 3 in numbers:
                raise ValueError("three")
            return [2 * number for number in numbers]

        outcomes = attempt_together(doubled, [1, 2, 3, 4])
        assert [outcomes[0], outcomes[1], outcomes[3]] == [2, 4, 8] and str(outcomes[2]) == "three"
        assert tried == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]
        assert attempt_together(doubled, []) == []

    def test_a_session_that_another_thread_uses_is_left_to_it(self) -> None:
        model, used, free = tiny_model(), opened(), opened(1)
        entered, leave = threading.Event(), threading.Event()

        def use() -> None:
            with used.used_by_this_thread():
                entered.set()
                leave.wait(20)

        thread = threading.Thread(target=use)
        thread.start()
        entered.wait(20)
        error, output = model.step([used, free], return_exceptions=True)
        leave.set(), thread.join()
        assert isinstance(error, RuntimeError) and "another thread" in str(error)
        assert output.frame_idx == 0
