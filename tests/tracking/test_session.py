"""The session: what it holds of objects, and what it answers."""

from __future__ import annotations

import pickle
import threading

import pytest
import torch
from small_sessions import SIZE, click, clip, frames, reading, result, streamed
from video_scenes import snapshot

from sam2_hf.tracking.frame_result import FrameMemory, FrameResult
from sam2_hf.tracking.memory.recent import RecentMemory
from sam2_hf.tracking.prompts import MaskPrompt
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import open_video

MIB = 2**20


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
