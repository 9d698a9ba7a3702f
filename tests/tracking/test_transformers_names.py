"""What programs written for transformers call on a session, by its names; one test runs them on transformers' own."""

from __future__ import annotations

import copy

import pytest
import torch
from video_scenes import PROCESSOR, assert_same, give, open_session, pixels, prompted, snapshot, tiny_model, track

from sam2_hf.tracking.session import Sam2VideoInferenceSession


@pytest.fixture(scope="module")
def session() -> Sam2VideoInferenceSession:
    """Two objects, one tracked from a click, one from a mask on frame 2; for tests that do not change it."""
    session = prompted((0, "a"), (2, 7, "mask"))
    track(tiny_model(), session, max_frame_num_to_track=4)
    return session


def inherited_names() -> set[str]:
    modeling = pytest.importorskip("transformers.models.sam2_video.modeling_sam2_video")
    theirs = modeling.Sam2VideoInferenceSession()
    return {name for name in dir(theirs) if not name.startswith("_")}


def test_every_public_name_of_transformers_is_there() -> None:
    assert not {name for name in inherited_names() if not hasattr(open_session(), name)}


class TestObjects:
    def test_indices_are_positions_of_the_ids(self, session) -> None:
        assert session.get_obj_num() == 2
        assert [session.obj_id_to_idx(obj_id) for obj_id in ("a", 7)] == [0, 1]
        assert [session.obj_idx_to_id(index) for index in (0, 1)] == ["a", 7]
        with pytest.raises(KeyError, match=r"obj_idx must be in 0\.\.1, got 2"):
            session.obj_idx_to_id(2)

    def test_asking_for_an_unknown_id_adds_an_object_that_has_nothing_yet(self) -> None:
        session = prompted((0, "a"))
        assert session.obj_id_to_idx("b") == 1 and session.obj_ids == ["a", "b"]
        masks = track(tiny_model(), session)
        assert all((by_object["b"] == -1024).all() for by_object in masks.values())

    def test_objects_with_new_inputs_are_those_whose_prompts_wait(self) -> None:
        session = prompted((0, "a"), (3, "b"))
        assert session.obj_with_new_inputs == ["a", "b"]
        tiny_model()(session, frame_idx=0)
        assert session.obj_with_new_inputs == []


class TestFrames:
    def test_frames_of_a_clip_are_read_when_they_are_asked_for(self) -> None:
        session = open_session(5)
        frames = session.processed_frames
        assert len(frames) == 5 and frames[3].equal(pixels(3)) and session.get_frame(3).equal(pixels(3))
        with pytest.raises(KeyError):
            frames[5]

    def test_frames_are_added_to_a_stream(self) -> None:
        session = PROCESSOR.init_video_session()
        assert session.processed_frames is None
        assert [session.add_new_frame(pixels(index)) for index in range(3)] == [0, 1, 2]
        assert list(session.processed_frames) == [2] and session.processed_frames[2].equal(pixels(2))

    def test_a_clip_of_pixel_values_tracks_as_the_video_does(self) -> None:
        """`Sam2VideoInferenceSession(video=pixel_values, video_height=…, video_width=…)`, as transformers builds it."""
        values = torch.stack([pixels(index) for index in range(8)])
        expected = track(tiny_model(), prompted((0, "a")))
        for video in (values, values[None]):
            session = Sam2VideoInferenceSession(video=video, video_height=128, video_width=128, dtype="float32")
            assert session.num_frames == 8 and session.get_frame(2).equal(pixels(2))
            give(session, 0, "a")
            assert_same(track(tiny_model(), session), expected)

    @pytest.mark.parametrize("shape", [(3, 128, 128), (2, 4, 3, 128, 128)])
    def test_pixel_values_of_another_shape_are_refused(self, shape) -> None:
        with pytest.raises(ValueError, match=r"video.*\(1, frames, 3, height, width\), got \("):
            Sam2VideoInferenceSession(video=torch.zeros(shape), video_height=128, video_width=128)

    def test_a_clip_of_pixel_values_is_not_saved(self, tmp_path) -> None:
        session = Sam2VideoInferenceSession(video=torch.zeros(2, 3, 128, 128))
        with pytest.raises(TypeError, match="cannot be saved: open the video"):
            session.save(tmp_path / "session")
        assert not (tmp_path / "session").exists()


class TestPrompts:
    def test_prompts_are_read_as_they_are_written(self) -> None:
        session = open_session()
        index = session.obj_id_to_idx("a")
        given = {"point_coords": torch.tensor([[[[36.0, 44.0]]]]), "point_labels": torch.tensor([[[1]]])}
        session.add_point_inputs(index, 0, given)
        stored = session.point_inputs_per_obj[index][0]
        assert stored["point_coords"].equal(given["point_coords"]) and stored["point_labels"].shape == (1, 1, 1)
        assert_same(track(tiny_model(), session), track(tiny_model(), prompted((0, "a"))))

    def test_a_mask_takes_the_place_of_points_and_is_taken_back(self) -> None:
        session = prompted((0, "a"))
        session.add_mask_inputs(0, 0, torch.ones(1, 1, 128, 128))
        assert dict(session.point_inputs_per_obj[0]) == {}
        assert session.mask_inputs_per_obj[0][0].shape == (1, 1, 128, 128)
        session.remove_point_inputs(0, 0)  # there are none
        assert list(session.mask_inputs_per_obj[0]) == [0]
        session.remove_mask_inputs(0, 0)
        assert dict(session.mask_inputs_per_obj[0]) == {} and session.obj_with_new_inputs == []


class TestResults:
    def test_results_are_read_by_kind_frame_and_key(self, session) -> None:
        outputs = session.output_dict_per_obj
        assert list(outputs[0]["cond_frame_outputs"]) == [0]
        assert list(outputs[0]["non_cond_frame_outputs"]) == [1, 2, 3, 4]
        assert list(outputs[1]["cond_frame_outputs"]) == [2]
        mask = session.get_output(0, 3, "pred_masks", is_conditioning_frame=False)
        assert mask.shape == (1, 1, 32, 32) and mask[0].equal(session.tracks["a"].results[3].mask_logits)
        assert session.get_output(0, 3, "pred_masks") is None
        with pytest.raises(KeyError, match=r"output_key must be one of pred_masks, .* got 'masks'"):
            session.get_output(0, 3, "masks", is_conditioning_frame=False)

    def test_frames_that_tracking_passed(self, session) -> None:
        assert session.frames_tracked_per_obj[0][3] == {"reverse": False}
        assert list(session.frames_tracked_per_obj[1]) == [2, 3, 4]

    def test_views_cannot_be_written(self, session) -> None:
        with pytest.raises(TypeError):
            session.output_dict_per_obj[0]["cond_frame_outputs"][9] = {}  # type: ignore[index]

    def test_a_part_that_is_stored_is_read_by_later_frames(self) -> None:
        session = prompted((0, "a"))
        track(tiny_model(), session, max_frame_num_to_track=2)
        pointer = session.get_output(0, 0, "object_pointer")
        session.store_output(0, 0, "object_pointer", -pointer)
        assert session.get_output(0, 0, "object_pointer").equal(-pointer)
        before = session.tracks["a"].results[1].mask_logits
        assert not track(tiny_model(), session)[1]["a"].equal(before)

    def test_a_whole_result_is_stored_and_half_a_new_one_is_refused(self, session) -> None:
        other = copy.deepcopy(session)
        parts = dict(other.output_dict_per_obj[0]["non_cond_frame_outputs"][4])
        other.store_output(1, 6, output_value=parts, is_conditioning_frame=False)
        assert list(other.output_dict_per_obj[1]["non_cond_frame_outputs"]) == [3, 4, 6]
        before = snapshot(other)
        with pytest.raises(ValueError, match="must hold object_score_logits, object_pointer"):
            other.store_output(1, 7, "pred_masks", parts["pred_masks"])
        assert snapshot(other) == before


class TestCache:
    def test_features_last_used_are_read_and_cleared(self) -> None:
        session = prompted((0, "a"))
        assert session.max_vision_features_cache_size == 1 and session.cache.get_vision_features(0) is None
        tiny_model()(session, frame_idx=0)
        finest, _, coarsest = session.cache.get_vision_features(0)["vision_feats"]
        assert finest.shape[:2] == (32 * 32, 1) and coarsest.shape[:2] == (8 * 8, 1)
        session.cache.clear_all()
        assert session.cache.get_vision_features(0) is None


class TestForks:
    def test_a_fork_shares_tensors_and_goes_its_own_way(self, session) -> None:
        before, fork = snapshot(session), copy.deepcopy(session)
        assert snapshot(fork) == before
        shared = {tensor.data_ptr() for tensor in session.tracks["a"].tensors()}
        assert {tensor.data_ptr() for tensor in fork.tracks["a"].tensors()} == shared
        give(fork, 3, "a", "background")
        fork.remove_object(7)
        corrected = track(tiny_model(), fork)
        assert snapshot(session) == before and session.obj_ids == ["a", 7]
        again = prompted((0, "a"), (2, 7, "mask"))
        track(tiny_model(), again, max_frame_num_to_track=4)
        give(again, 3, "a", "background")
        again.remove_object(7)
        assert_same(corrected, track(tiny_model(), again))

    def test_a_fork_of_a_stream_goes_on_by_itself(self) -> None:
        session = PROCESSOR.init_video_session()
        give(session, 0, "a")
        tiny_model()(session, frame=pixels(0))
        fork = session.fork()
        tiny_model()(fork, frame=pixels(1))
        assert session.newest_streamed == 0 and fork.newest_streamed == 1
        assert tiny_model()(session, frame=pixels(1)).pred_masks.equal(tiny_model()(fork, frame_idx=1).pred_masks)


class TestModelCall:
    def test_a_frame_that_is_not_remembered_leaves_the_session_as_it_was(self) -> None:
        session = prompted((0, "a"))
        tiny_model()(session, frame_idx=0)
        before = snapshot(session)
        shown = tiny_model()(session, frame_idx=1, run_mem_encoder=False)
        assert snapshot(session) == before
        assert tiny_model()(session, frame_idx=1).pred_masks.equal(shown.pred_masks)

    def test_a_frame_of_a_stream_is_taken_though_it_is_not_remembered(self) -> None:
        session = PROCESSOR.init_video_session()
        give(session, 0, "a")
        tiny_model()(session, frame=pixels(0))
        shown = tiny_model()(session, frame=pixels(1), run_mem_encoder=False)
        assert session.newest_streamed == 1 and (shown.pred_masks > -1024).all()
        assert session.tracks["a"].results.keys() == {0}

    def test_values_as_a_tuple_stand_in_transformers_order(self) -> None:
        session = prompted((0, "a"))
        ids, masks, scores, frame_idx, ious = tiny_model()(session, frame_idx=0, return_dict=False)
        assert (ids, frame_idx) == (["a"], 0) and masks.shape == (1, 1, 32, 32) and scores.shape == ious.shape == (1, 1)


class TestDevicesAndDtypes:
    def test_a_session_takes_the_models_device_and_dtype_where_none_are_given(self) -> None:
        session = open_session()
        session.follow(torch.device("meta"), torch.bfloat16)
        assert session.inference_device.type == session.inference_state_device.type == "meta"
        assert session.video_storage_device.type == "meta" and session.dtype is torch.bfloat16

    def test_what_is_given_stays(self) -> None:
        session = open_session(inference_device="cpu", dtype="float16")
        session.follow(torch.device("meta"), torch.bfloat16)
        assert session.inference_device.type == session.inference_state_device.type == "cpu"
        assert session.dtype is torch.float16

    def test_prompts_that_were_given_before_move_with_it(self) -> None:
        session = prompted((0, "a"), (1, "b", "mask"))
        session.follow(torch.device("meta"), torch.float32)
        devices = {tensor.device.type for track in session.tracks.values() for tensor in track.tensors()}
        assert devices == {"meta"} and session.obj_with_new_inputs == ["a", "b"]

    @pytest.mark.parametrize("dtype", ["float", "int64", torch.int64, 3])
    def test_a_dtype_that_is_none_of_pixels(self, dtype) -> None:
        if dtype == "float":
            assert Sam2VideoInferenceSession(dtype=dtype).dtype is torch.float32
            return
        with pytest.raises(ValueError, match="dtype must be a floating-point dtype"):
            Sam2VideoInferenceSession(dtype=dtype)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_tracking_under_autocast(self, dtype) -> None:
        """Older GPUs know float16 alone, while memories are stored in bfloat16."""
        session, plain = prompted((0, "a"), (0, "b", "box")), prompted((0, "a"), (0, "b", "box"))
        with torch.autocast("cpu", dtype):
            masks = track(tiny_model(), session, max_frame_num_to_track=3)
        expected = track(tiny_model(), plain, max_frame_num_to_track=3)
        assert masks.keys() == expected.keys()
        for frame, by_object in masks.items():
            for obj_id, mask in by_object.items():
                assert mask.isfinite().all()
                assert ((mask > 0) == (expected[frame][obj_id] > 0)).float().mean() > 0.9
