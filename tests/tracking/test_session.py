"""The state of a session: frames, objects, prompts, results; where they lie and what they weigh."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from video_scenes import snapshot

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.tracking.frame_result import FrameMemory, FrameResult
from sam2_hf.tracking.memory.recent import RecentMemory
from sam2_hf.tracking.prompts import MaskPrompt, PointPrompt
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import open_video

SIZE = (32, 48)
MIB = 2**20
PROCESSOR = Sam2ImageProcessor(size={"height": 32, "width": 48})


def frames(count: int = 6) -> list[np.ndarray]:
    return [np.full((20, 30, 3), 10 * index, np.uint8) for index in range(count)]


def clip(count: int = 6, **settings) -> Sam2VideoInferenceSession:
    return Sam2VideoInferenceSession(open_video(frames(count)), image_processor=PROCESSOR, **settings)


def reading(count: int = 6, **settings) -> Sam2VideoInferenceSession:
    """A session that reads a generator, which keeps its last two frames."""
    source = open_video(iter(frames(count)), cache_size=2)
    return Sam2VideoInferenceSession(source, image_processor=PROCESSOR, **settings)


def streamed(count: int = 3, **settings) -> Sam2VideoInferenceSession:
    session = Sam2VideoInferenceSession(video_height=20, video_width=30, **settings)
    for index in range(count):
        session.add_frame(torch.full((3, *SIZE), float(index)), index)
    return session


def click() -> PointPrompt:
    return PointPrompt(torch.tensor([[1.0, 2.0]]), torch.tensor([1]))


def result(is_conditioning: bool = False, width: int = 4, side: int = 2) -> FrameResult:
    memory = FrameMemory(torch.ones(width, side, side), torch.ones(8))
    return FrameResult(torch.ones(1, 4 * side, 4 * side), torch.ones(1), torch.ones(1), memory, is_conditioning)


class TestOpening:
    def test_a_clip_tells_its_size_and_length(self) -> None:
        session = clip()
        assert (session.video_height, session.video_width, session.num_frames) == (20, 30, 6)
        assert session.retention == "checkpointed" and session.obj_ids == []

    def test_a_stream_counts_the_frames_so_far(self) -> None:
        session = streamed(3)
        assert session.num_frames == 3 and session.newest_streamed == 2 and session.num_frames_total is None
        assert session.retention == "readable"
        assert Sam2VideoInferenceSession().newest_streamed is None

    def test_a_source_without_known_end_has_no_length_and_forgets(self) -> None:
        session = reading()
        assert session.num_frames is None and session.retention == "readable"

    @pytest.mark.parametrize(
        "settings, message",
        [
            ({"retention": "some"}, 'retention must be "everything", "checkpointed" or "readable", got \'some\''),
            (
                {"retention": "checkpointed"},
                'retention="checkpointed" needs a clip whose frames can be read in any order',
            ),
            ({"dtype": torch.uint8}, "dtype must be a floating-point dtype"),
            ({"dtype": "int32"}, "dtype must be a floating-point dtype"),
            ({"max_vision_features_cache_size": 0}, "max_vision_features_cache_size must be at least 1, got 0"),
        ],
    )
    def test_settings_that_mean_nothing_are_refused(self, settings, message) -> None:
        with pytest.raises(ValueError, match=message):
            Sam2VideoInferenceSession(**settings)

    def test_a_video_needs_a_processor(self) -> None:
        with pytest.raises(ValueError, match=r"image_processor; use Sam2VideoProcessor\.init_video_session"):
            Sam2VideoInferenceSession(open_video(frames()))

    def test_it_is_saved_and_not_pickled(self) -> None:
        with pytest.raises(TypeError, match=r"use session\.save\(directory\)"):
            pickle.dumps(clip())

    def test_its_repr_names_source_objects_and_retention(self) -> None:
        session = streamed()
        session.add_prompts(2, {"cup": click()})
        assert repr(session) == "Sam2VideoInferenceSession(stream, objects=['cup'], retention='readable')"
        assert "ImageSource" in repr(clip())


class TestFrameNumbers:
    @pytest.mark.parametrize("frame_idx", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
    def test_integers_of_every_kind_become_ints(self, frame_idx) -> None:
        checked = clip().check_frame_idx(frame_idx)
        assert checked == 3 and type(checked) is int

    @pytest.mark.parametrize(
        "frame_idx", [True, 1.0, "1", None, torch.tensor(1.0), np.array([1, 2]), torch.tensor(True)]
    )
    def test_anything_else_is_refused(self, frame_idx) -> None:
        with pytest.raises(TypeError, match="frame_idx must be an int, got "):
            clip().check_frame_idx(frame_idx)

    @pytest.mark.parametrize("frame_idx", [-1, 6, 100])
    def test_a_clip_ends(self, frame_idx: int) -> None:
        with pytest.raises(IndexError, match=rf"frame_idx must be in 0\.\.5, got {frame_idx}"):
            clip().check_frame_idx(frame_idx)

    def test_a_stream_has_no_end_but_a_beginning(self) -> None:
        assert streamed().check_frame_idx(10**6) == 10**6
        with pytest.raises(IndexError, match="frame_idx must be 0 or above, got -1"):
            streamed().check_frame_idx(-1)


class TestFramesOfAClip:
    def test_pixels_are_what_the_processor_makes_of_the_frame(self) -> None:
        expected = PROCESSOR(frames()[4], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(clip().pixel_values(4), expected)

    def test_pixels_have_the_sessions_dtype(self) -> None:
        assert clip(dtype=torch.bfloat16).pixel_values(1).dtype == torch.bfloat16

    def test_no_frame_is_ever_gone(self) -> None:
        session = clip()
        session.pixel_values(5)
        session.check_not_gone(0)
        assert not session.is_gone(0)

    def test_a_frame_is_not_handed_over(self) -> None:
        with pytest.raises(ValueError, match="reads its frames from a video; call the model with frame_idx"):
            clip().check_next_frame(torch.zeros(3, *SIZE), None, SIZE)


class TestFramesHandedOver:
    def test_they_are_numbered_as_they_come(self) -> None:
        session = Sam2VideoInferenceSession()
        assert [self.hand_over(session) for _ in range(3)] == [0, 1, 2]
        assert self.hand_over(session, 7) == 7 and self.hand_over(session) == 8

    def hand_over(self, session: Sam2VideoInferenceSession, frame_idx: int | None = None) -> int:
        frame = torch.zeros(1, 3, *SIZE)
        frame_idx = session.check_next_frame(frame, frame_idx, SIZE)
        session.add_frame(frame, frame_idx)
        return frame_idx

    def test_the_newest_is_held_and_no_other(self) -> None:
        session = streamed(3)
        assert (session.pixel_values(2) == 2).all() and session.pixel_values(2).shape == (1, 3, *SIZE)
        for frame in (0, 1, 3):
            with pytest.raises(IndexError, match=rf"frame {frame} of the stream is gone; the newest frame, 2"):
                session.pixel_values(frame)

    def test_the_callers_buffer_may_be_filled_again(self) -> None:
        session, buffer = Sam2VideoInferenceSession(), torch.zeros(3, *SIZE)
        session.add_frame(buffer, 0)
        buffer.fill_(9)
        assert (session.pixel_values(0) == 0).all()

    @pytest.mark.parametrize(
        "frame",
        [
            torch.zeros(3, 48, 32),
            torch.zeros(2, 3, *SIZE),
            torch.zeros(1, *SIZE),
            torch.zeros(SIZE),
            np.zeros((3, *SIZE)),
            None,
        ],
    )
    def test_a_frame_of_another_shape_is_refused(self, frame) -> None:
        with pytest.raises(ValueError, match=r"frame must be one frame's pixel_values of the processor, \(3, 32, 48\)"):
            streamed().check_next_frame(frame, None, SIZE)

    @pytest.mark.parametrize("frame", [torch.zeros(3, *SIZE, dtype=torch.uint8), torch.full((3, *SIZE), float("nan"))])
    def test_pixels_that_no_processor_made_are_refused(self, frame) -> None:
        with pytest.raises(
            ValueError, match=r"frame must be normalised, finite pixel_values .*, got (NaN|torch.uint8)"
        ):
            streamed().check_next_frame(frame, None, SIZE)

    def test_a_stream_only_goes_on(self) -> None:
        with pytest.raises(IndexError, match="a stream only goes on: the next frame_idx is 3 or above, got 2"):
            streamed(3).check_next_frame(torch.zeros(3, *SIZE), 2, SIZE)

    def test_numbers_are_not_skipped_where_prompts_wait(self) -> None:
        session = streamed(3)
        session.add_prompts(4, {"cup": click()})
        with pytest.raises(IndexError, match="frame_idx 6 would pass over frame 4, on which prompts wait"):
            session.check_next_frame(torch.zeros(3, *SIZE), 6, SIZE)
        assert session.check_next_frame(torch.zeros(3, *SIZE), 4, SIZE) == 4

    def test_frames_that_have_passed_and_frames_to_come_cannot_be_visited(self) -> None:
        session = streamed(3)
        session.check_not_gone(2)
        with pytest.raises(IndexError, match="frame 1 of the stream is gone"):
            session.check_not_gone(1)
        with pytest.raises(IndexError, match="frame 3 of the stream has not come yet: hand it over as frame"):
            session.check_not_gone(3)

    def test_a_session_that_keeps_everything_still_shows_masks_of_the_past(self) -> None:
        session = streamed(3, retention="everything")
        session.add_prompts(2, {"cup": click()})
        session.store(2, {"cup": result(is_conditioning=True)})
        session.add_frame(torch.zeros(3, *SIZE), 3)
        session.check_not_gone(2)
        with pytest.raises(IndexError, match="frame 1 of the stream is gone"):
            session.check_not_gone(1)


class TestFramesThatAreRead:
    def test_reading_goes_on_to_the_frame_and_counts(self) -> None:
        session = reading(6)
        assert (session.pixel_values(3) == clip().pixel_values(3)).all()
        assert session.newest_streamed == 3

    def test_the_last_ones_can_be_had_again(self) -> None:
        session = reading(6)
        session.frames.wait_for(4)
        assert [frame for frame in range(8) if not session.is_gone(frame)] == [3, 4, 5, 6, 7]
        with pytest.raises(IndexError, match="frame 1 of the stream is gone; the newest frame, 4"):
            session.check_not_gone(1)

    def test_the_end_is_noticed(self) -> None:
        session = reading(3)
        assert session.frames.advance_to(2) and not session.frames.advance_to(3)
        with pytest.raises(IndexError, match="the stream ended before frame 3"):
            session.frames.wait_for(3)

    def test_asking_whether_a_frame_is_gone_takes_none(self) -> None:
        taken = []

        def images() -> Iterator[np.ndarray]:
            for index, image in enumerate(frames()):
                taken.append(index)
                yield image

        source = open_video(images(), cache_size=2)
        session = Sam2VideoInferenceSession(source, image_processor=PROCESSOR)
        session.is_gone(0), session.is_gone(4), session.add_prompts(4, {"cup": click()})
        assert taken == [0], "the first frame tells the size"


class TestObjects:
    @pytest.mark.parametrize("obj_id", [1, "cup", ("left", 2), None, 2.5, frozenset({1})])
    def test_ids_are_whatever_a_dictionary_takes(self, obj_id) -> None:
        session = clip()
        session.add_prompts(0, {obj_id: click()})
        assert session.obj_ids == [obj_id]
        session.remove_object(obj_id)
        assert session.obj_ids == []

    def test_ids_keep_their_order_and_the_list_is_the_callers(self) -> None:
        session = clip()
        for obj_id in ("b", "a", "c"):
            session.add_prompts(0, {obj_id: click()})
        session.add_prompts(1, {"a": click()})
        session.obj_ids.clear()
        assert session.obj_ids == ["b", "a", "c"]

    def test_unknown_objects_are_named(self) -> None:
        session = clip()
        session.add_prompts(0, {"cup": click()})
        for change in (lambda: session.remove_object("hand"), lambda: session.clear_prompts(0, "hand")):
            with pytest.raises(KeyError, match=r"obj_id 'hand' is not in this session, which has \['cup'\]"):
                change()
        assert session.obj_ids == ["cup"]

    def test_clearing_a_frame_that_the_clip_has_not_is_refused(self) -> None:
        session = clip()
        session.add_prompts(0, {"cup": click()})
        with pytest.raises(IndexError, match="frame_idx must be in"):
            session.clear_prompts(6, "cup")

    def test_prompts_wait_in_the_order_of_their_frames(self) -> None:
        session = clip()
        session.add_prompts(4, {"a": click(), "b": click()})
        session.add_prompts(1, {"b": click()})
        assert session.pending_frames() == [1, 4] == session.waiting_frames(0)

    def test_of_a_stream_only_frames_that_have_come_are_segmented_now(self) -> None:
        session = streamed(3)
        for frame in (2, 3, 5):
            session.add_prompts(frame, {"cup": click()})
        assert session.waiting_frames(0) == [2] and session.waiting_frames(4) == [2, 3]

    def test_prompts_on_a_frame_that_is_gone_are_refused(self) -> None:
        session = streamed(3)
        before = snapshot(session)
        with pytest.raises(IndexError, match="frame 1 of the stream is gone"):
            session.add_prompts(1, {"cup": click()})
        assert snapshot(session) == before

    def test_results_take_prompts_off_the_list(self) -> None:
        session = clip()
        session.add_prompts(4, {"a": click(), "b": click()})
        session.store(4, {"a": result(is_conditioning=True)})
        assert session.pending_frames() == [4] and session.tracks["a"].pending == set()

    def test_every_result_has_a_version_of_its_own(self) -> None:
        session = clip()
        session.add_prompts(0, {"a": click(), "b": click()})
        session.store(0, {"a": result(True), "b": result(True)})
        session.store(1, {"a": result()})
        session.store(0, {"a": result(True)})
        versions = [result.version for track in session.tracks.values() for result in track.results.values()]
        assert len(set(versions)) == 3 and session.tracks["a"].results[0].version == max(versions)

    def test_tracking_marks_the_direction(self) -> None:
        session = clip()
        session.add_prompts(0, {"a": click(), "b": click()})
        session.store(0, {"a": result(True), "b": result(True)})
        session.mark_tracked(0, ["b"], reverse=True)
        assert [track.results[0].tracked_in_reverse for track in session.tracks.values()] == [None, True]

    def test_resetting_the_tracking_data_keeps_the_features(self) -> None:
        session = clip()
        session.add_prompts(0, {"a": click()})
        session.feature_cache.put(0, None)
        session.reset_tracking_data()
        assert session.obj_ids == [] and 0 in session.feature_cache and session.num_frames == 6

    def test_resetting_the_session_keeps_the_video_alone(self) -> None:
        session = clip()
        session.add_prompts(0, {"a": click()})
        session.feature_cache.put(0, None)
        session.reset_inference_session()
        assert session.obj_ids == [] and len(session.feature_cache) == 0
        assert session.pixel_values(5) is not None and session.video_height == 20

    def test_resetting_a_stream_leaves_it_where_it_stands(self) -> None:
        session = streamed(3)
        session.reset_inference_session()
        assert session.newest_streamed == 2
        session.add_prompts(2, {"a": click()})


class TestDevices:
    """A meta tensor shows where it lies on a machine that has no second device."""

    def test_all_that_is_stored_of_an_object_lies_on_the_state_device(self) -> None:
        session = clip(inference_state_device="meta")
        session.add_prompts(0, {"a": click(), "b": MaskPrompt(torch.ones(SIZE, dtype=torch.bool))})
        session.add_prompts(0, {"a": click()}, keep_old_points=True)
        session.store(0, {"a": result(True), "b": result(True)})
        session.store(1, {"a": result()})
        stored = [tensor for track in session.tracks.values() for tensor in track.tensors()]
        assert len(stored) == 3 + 3 * 5
        assert {tensor.device.type for tensor in stored} == {"meta"}

    def test_pixels_of_a_stream_lie_on_the_storage_device(self) -> None:
        _, newest, _ = streamed(2, video_storage_device="meta").stream_state()
        assert newest.device.type == "meta"
        session = streamed(2, inference_device="meta", video_storage_device="cpu")
        assert session.stream_state()[1].device.type == "cpu" and session.pixel_values(1).device.type == "meta"

    def test_frames_go_to_the_inference_device(self) -> None:
        assert clip(inference_device="meta").pixel_values(0).device.type == "meta"

    def test_all_of_them_follow_the_inference_device_unless_told_otherwise(self) -> None:
        session = streamed(1, inference_device="meta")
        session.add_prompts(0, {"a": click()})
        assert session.stream_state()[1].device.type == "meta"
        assert {tensor.device.type for tensor in session.tracks["a"].tensors()} == {"meta"}


class TestThreads:
    def test_a_session_in_two_threads_says_so_and_stays_as_it_was(self) -> None:
        session = clip()
        session.add_prompts(0, {"a": click()})
        inside, leave = threading.Event(), threading.Event()

        def step() -> None:
            with session.used_by_this_thread():
                inside.set()
                leave.wait(10)

        other = threading.Thread(target=step)
        other.start()
        inside.wait(10)
        calls = [
            lambda: session.add_prompts(1, {"b": click()}),
            lambda: session.clear_prompts(0, "a"),
            lambda: session.remove_object("a"),
            session.reset_tracking_data,
        ]
        try:
            for call in calls:
                with pytest.raises(RuntimeError, match="used by another thread"):
                    call()
        finally:
            leave.set()
            other.join()
        assert session.obj_ids == ["a"] and session.pending_frames() == [0]
        session.remove_object("a")  # now it is free

    def test_an_id_that_is_not_equal_to_itself_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"obj_ids must be equal to themselves .* got nan"):
            clip().add_prompts(0, {float("nan"): click()})


class TestWeight:
    """What a stream holds at 1024 px, from the shapes of the published checkpoints: memories of 64 x 64 x 64."""

    def track(self, num_frames: int, conditioning: tuple[int, ...] = (0,)) -> list[int]:
        session = Sam2VideoInferenceSession(retention="readable")
        memory = FrameMemory(torch.ones(64, 64, 64), torch.ones(256))
        sizes = []
        for frame in range(num_frames):
            prompted = frame in conditioning
            if prompted:
                session.add_prompts(frame, {"cup": MaskPrompt(torch.ones(1024, 1024, dtype=torch.bool))})
            logits = torch.ones(1, 256, 256)
            session.store(frame, {"cup": FrameResult(logits, torch.ones(1), torch.ones(1), memory, prompted)})
            session.prune(RecentMemory(), frame, reverse=False)
            sizes.append(session.state_nbytes)
        return sizes

    def test_an_object_weighs_the_same_after_any_number_of_frames(self) -> None:
        sizes = self.track(60)
        assert len(set(sizes[16:])) == 1
        assert max(sizes) < 6 * MIB

    def test_an_object_that_was_corrected_often_is_still_light(self) -> None:
        sizes = self.track(60, conditioning=tuple(range(0, 60, 5)))
        assert max(sizes) < 16 * MIB

    def test_it_is_the_bytes_of_all_tensors(self) -> None:
        session = clip()
        assert session.state_nbytes == 0
        session.add_prompts(0, {"a": click()})
        assert session.state_nbytes == 2 * 4 + 8
        session.store(0, {"a": result(True, width=4, side=2)})
        assert session.state_nbytes == 16 + 4 * 8 * 8 + 4 + 4 + 2 * 4 * 2 * 2 + 4 * 8

    def test_pruning_is_left_out_where_everything_is_retained(self) -> None:
        session = clip()
        for frame in range(6):
            session.store(frame, {}) if frame else session.add_prompts(0, {"a": click()})
            session.store(frame, {"a": result(frame == 0)})
            session.prune(RecentMemory(num_maskmem=1, max_object_pointers=1), frame, reverse=False)
        assert len(session.tracks["a"].results) == 6
        assert all(result.mask_logits is not None for result in session.tracks["a"].results.values())
