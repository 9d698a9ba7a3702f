"""`Sam2VideoModel`: single frames, many sessions at once, and every size, precision and preset."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from closeness import assert_close_in_scale
from official_goldens import IMAGE_SIZE
from tiny import randomize, tiny_video_model
from video_scenes import (
    PROCESSOR,
    PROMPTS,
    assert_same,
    clip,
    collect,
    counted,
    give,
    is_empty,
    open_session,
    run_out_of_memory,
    scene_model,
    snapshot,
    stream,
    tiny_model,
    track,
)

from sam2_hf.configuration_sam2 import PRESETS, Sam2VideoConfig
from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.masks.connected_components import fill_holes
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.outputs import Sam2VideoSegmentationOutput
from sam2_hf.processing_sam2_video import Sam2VideoProcessor


class TestOneFrame:
    def test_the_output_has_a_row_for_every_object(self) -> None:
        session = open_session()
        for obj_id, kind in enumerate(PROMPTS):
            give(session, 2, obj_id, kind)
        output = tiny_model()(inference_session=session, frame_idx=2)
        assert isinstance(output, Sam2VideoSegmentationOutput)
        assert output.frame_idx == 2 and output.object_ids == session.obj_ids == list(range(len(PROMPTS)))
        assert output.pred_masks.shape == (len(PROMPTS), 1, IMAGE_SIZE // 4, IMAGE_SIZE // 4)
        assert output.object_score_logits.shape == output.iou_scores.shape == (len(PROMPTS), 1)
        assert {tensor.dtype for tensor in (output.pred_masks, output.object_score_logits, output.iou_scores)} == {
            torch.float32
        }
        assert (output.iou_scores > 0).all() and (output.iou_scores <= 1).all()

    def test_a_given_mask_comes_back(self) -> None:
        session = give(open_session(), 2, "a", "mask")
        output = tiny_model()(session, frame_idx=2)
        masks = PROCESSOR.post_process_masks([output.pred_masks], [[IMAGE_SIZE, IMAGE_SIZE]])[0][0, 0].numpy()
        given = PROMPTS["mask"]["input_masks"]
        assert (masks & given).sum() / (masks | given).sum() > 0.95
        assert output.iou_scores.item() == 1 and output.object_score_logits.item() == 10

    def test_an_empty_mask_is_an_absent_object(self) -> None:
        output = tiny_model()(give(open_session(), 2, "a", "empty_mask"), frame_idx=2)
        assert output.object_score_logits.item() == -10 and (output.pred_masks < 0).all()

    def test_the_lists_of_an_output_are_the_callers(self) -> None:
        session = give(open_session(), 2, "a")
        output = tiny_model()(session, frame_idx=2)
        output.object_ids.clear()
        with torch.inference_mode():
            output.pred_masks.zero_()
        again = tiny_model()(session, frame_idx=2)
        assert again.object_ids == ["a"] and again.pred_masks.any()

    def test_asking_again_changes_nothing(self) -> None:
        session = give(open_session(), 2, "a")
        first = tiny_model()(session, frame_idx=2)
        before = snapshot(session)
        assert tiny_model()(session, frame_idx=2).pred_masks.equal(first.pred_masks)
        assert snapshot(session) == before

    def test_a_clip_can_be_tracked_by_hand(self) -> None:
        by_hand, at_once = give(open_session(), 0, "a"), give(open_session(), 0, "a")
        masks = collect(tiny_model()(by_hand, frame_idx=frame) for frame in range(8))
        assert_same(masks, track(tiny_model(), at_once))

    def test_backward_by_hand(self) -> None:
        by_hand, at_once = give(open_session(), 7, "a"), give(open_session(), 7, "a")
        masks = collect(tiny_model()(by_hand, frame_idx=frame, reverse=True) for frame in range(7, -1, -1))
        assert_same(masks, track(tiny_model(), at_once, reverse=True))

    def test_prompts_that_wait_elsewhere_count(self) -> None:
        session, told = give(open_session(), 0, "a"), give(open_session(), 0, "a")
        tiny_model()(told, frame_idx=0)
        mask = tiny_model()(session, frame_idx=3).pred_masks
        assert mask.equal(tiny_model()(told, frame_idx=3).pred_masks) and not is_empty(mask)

    def test_prompts_of_one_frame_are_segmented_and_nothing_is_tracked(self, monkeypatch) -> None:
        session, model = give(open_session(), 0, "a"), tiny_model()
        model(session, frame_idx=0)
        give(give(give(session, 0, "a", "background"), 2, "b", "box"), 4, "c")
        with counted(model, monkeypatch, "condition_on_memory") as calls:
            output = model.segment_prompts(session, 2)
        assert output.frame_idx == 2 and output.object_ids == ["a", "b", "c"] and not calls["condition_on_memory"]
        assert [is_empty(mask) for mask in output.pred_masks] == [True, False, True]
        assert session.pending_frames() == [0, 4] and session.tracks["a"].results.keys() == {0}
        assert output.pred_masks[1].equal(model(session, frame_idx=2).pred_masks[1])
        with pytest.raises(IndexError, match=r"frame_idx must be in 0\.\.7, got 8"):
            model.segment_prompts(session, 8)
        with pytest.raises(TypeError, match="inference_session must be a Sam2VideoInferenceSession, got list"):
            model.segment_prompts([], 2)

    def test_the_memory_of_a_prompted_mask_is_cut_at_zero_unless_asked_otherwise(self) -> None:
        memories = []
        for flag in (True, False):
            session = give(open_session(), 0, "a")
            tiny_model(binarize_prompted_memory=flag)(session, frame_idx=0)
            memories.append(session.tracks["a"].results[0].memory.features)
        assert not memories[0].equal(memories[1])

    def test_two_prompts_before_the_first_call(self) -> None:
        at_once, apart = open_session(), open_session()
        give(give(at_once, 1, "a"), 1, "b", "box")
        for obj_id, kind in (("a", "click"), ("b", "box")):
            give(apart, 1, obj_id, kind)
            masks = tiny_model()(apart, frame_idx=1).pred_masks
        assert_close_in_scale(tiny_model()(at_once, frame_idx=1).pred_masks, masks, 1e-5)

    @pytest.mark.parametrize("frame_idx", [np.int64(2), torch.tensor(2)])
    def test_frame_numbers_of_other_kinds_are_ints_afterwards(self, frame_idx) -> None:
        session = give(open_session(), frame_idx, "a")
        output = tiny_model()(session, frame_idx=frame_idx)
        assert type(output.frame_idx) is int and [type(frame) for frame in session.tracks["a"].results] == [int]

    @pytest.mark.parametrize(
        "arguments, error, message",
        [
            ({}, ValueError, "expected frame_idx, or frame for a stream; got neither"),
            ({"frame_idx": 8}, IndexError, r"frame_idx must be in 0\.\.7, got 8"),
            ({"frame_idx": -1}, IndexError, r"frame_idx must be in 0\.\.7, got -1"),
            ({"frame_idx": "2"}, TypeError, "frame_idx must be an int, got '2'"),
            ({"frame": torch.zeros(3, 128, 128)}, ValueError, "reads its frames from a video"),
        ],
    )
    def test_bad_calls_are_named_and_change_nothing(self, arguments, error, message) -> None:
        session = give(open_session(), 0, "a")
        before = snapshot(session)
        with pytest.raises(error, match=message):
            tiny_model()(session, **arguments)
        assert snapshot(session) == before

    def test_what_fails_halfway_changes_nothing(self, monkeypatch) -> None:
        model, session = tiny_model(), give(open_session(), 0, "a")
        track(model, session, max_frame_num_to_track=2)
        give(session, 3, "b")
        before = snapshot(session)
        for name in ("encode_frame", "condition_on_memory", "segment", "encode_memory"):
            with monkeypatch.context() as patch, pytest.raises(MemoryError):
                patch.setattr(model, name, run_out_of_memory)
                model(session, frame_idx=3)
            assert snapshot(session) == before, name


class TestManySessions:
    def script(self, index: int):
        session = open_session(6)
        give(session, index % 3, f"object {index}", ["click", "box", "mask", "clicks"][index % 4])
        return session

    def test_sessions_on_threads_do_not_notice_each_other(self) -> None:
        expected = [track(tiny_model(), self.script(index), direction="both") for index in range(6)]
        with ThreadPoolExecutor(4) as pool:
            sessions = [self.script(index) for index in range(6)]
            found = list(pool.map(lambda session: track(tiny_model(), session, direction="both"), sessions))
        for masks, alone in zip(found, expected, strict=True):
            assert_same(masks, alone)

    def test_sessions_that_take_turns_do_not_notice_each_other(self) -> None:
        expected = [track(tiny_model(), self.script(index)) for index in (0, 3)]
        iterators = [tiny_model().propagate_in_video_iterator(self.script(index)) for index in (0, 3)]
        for pair in zip(*iterators, strict=True):
            for output, masks in zip(pair, expected, strict=True):
                assert output.pred_masks[0].equal(masks[output.frame_idx][output.object_ids[0]])

    def test_two_sessions_may_read_one_source(self) -> None:
        first = give(open_session(6), 0, "a")
        second = give(PROCESSOR.init_video_session(first.video), 2, "b", "box")
        assert_same(track(tiny_model(), second), track(tiny_model(), give(open_session(6), 2, "b", "box")))
        assert_same(track(tiny_model(), first), track(tiny_model(), give(open_session(6), 0, "a")))


class TestHoles:
    def masks(self, area: int):
        model = scene_model(fill_hole_area=area)
        return model, track(model, give(open_session(6), 0, "a"))

    def test_holes_are_filled_in_what_is_shown_and_not_in_what_tracking_remembers(self) -> None:
        _, plain = self.masks(0)
        _, filled = self.masks(40)
        assert any(not fill_holes(mask["a"], 40).equal(mask["a"]) for mask in plain.values()), "there are holes"
        assert filled[0]["a"].equal(fill_holes(plain[0]["a"], 40))
        for mask in filled.values():
            assert fill_holes(mask["a"], 40).equal(mask["a"])

    def test_of_a_tracked_frame_the_plain_mask_is_remembered_and_of_a_prompted_one_the_filled(
        self, monkeypatch
    ) -> None:
        model = scene_model(fill_hole_area=40)
        session = give(open_session(6), 0, "a")
        with counted(model, monkeypatch, "encode_memory", "segment") as calls:
            masks = track(model, session)
        remembered = [call[1][0] for call in calls["encode_memory"]]
        assert remembered[0].equal(masks[0]["a"])
        for frame in range(1, 6):
            assert fill_holes(remembered[frame], 40).equal(masks[frame]["a"])
        assert any(not remembered[frame].equal(masks[frame]["a"]) for frame in range(1, 6))


def scene(height: int, width: int) -> tuple[Sam2VideoProcessor, list]:
    """A processor for a model of this size, and a clip that has to be resized for it."""
    return Sam2VideoProcessor(Sam2ImageProcessor(size={"height": height, "width": width})), clip(5)


def track_three(model: Sam2VideoModel, processor: Sam2VideoProcessor, frames: list, **settings):
    session = processor.init_video_session(frames, **settings)
    for obj_id, kind in enumerate(("click", "box", "mask")):
        processor.add_inputs_to_inference_session(session, 0, obj_id, **PROMPTS[kind])
    return session, track(model, session)


class TestSizesAndPrecisions:
    @pytest.mark.parametrize("size", [64, 96, 256, (64, 128), (160, 96)])
    def test_models_of_every_size_track(self, size) -> None:
        height, width = (size, size) if isinstance(size, int) else size
        model = tiny_video_model(0, image_size=size)
        session, masks = track_three(model, *scene(height, width))
        assert all(mask.shape == (1, height // 4, width // 4) for frame in masks.values() for mask in frame.values())
        assert not any(is_empty(mask) for frame in masks.values() for mask in frame.values())
        assert session.tracks[0].results[4].memory.features.shape == (16, height // 16, width // 16)
        restored = PROCESSOR.post_process_masks([masks[0][2][None]], [[128, 128]])[0][0, 0].numpy()
        given = PROMPTS["mask"]["input_masks"]
        assert (restored & given).sum() / (restored | given).sum() > 0.85

    @pytest.mark.parametrize("memory_width", [4, 8, 32, 64])
    def test_memories_of_every_width_that_pointers_can_be_cut_to(self, memory_width: int) -> None:
        model = tiny_video_model(0, image_size=64, width=64, memory_width=memory_width)
        session, masks = track_three(model, *scene(64, 64))
        assert session.tracks[0].results[1].memory.features.shape[0] == memory_width
        assert all(mask.isfinite().all() for frame in masks.values() for mask in frame.values())

    @pytest.mark.parametrize("version", ["sam2", "sam2.1"])
    def test_both_versions_track(self, version: str) -> None:
        masks = track(scene_model(version), give(open_session(4), 0, "a"))
        assert not any(is_empty(mask["a"]) for mask in masks.values())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize("pixels_too", [True, False])
    def test_half_precision_gives_nearly_the_same_masks(self, dtype: torch.dtype, pixels_too: bool) -> None:
        expected = track(tiny_model(), give(open_session(5), 0, "a"))
        model = tiny_video_model(0).to(dtype)
        session = open_session(5, dtype=dtype if pixels_too else torch.float32)
        give(session, 0, "a")
        give(session, 2, "b", "mask")
        masks = track(model, session)
        for frame, mask in expected.items():
            assert masks[frame]["a"].dtype == torch.float32
            found, truth = masks[frame]["a"] > 0, mask["a"] > 0
            assert (found & truth).sum() / (found | truth).sum() > 0.95
        assert session.tracks["a"].results[1].memory.pointer.dtype == dtype

    def test_autocast_gives_nearly_the_same_masks(self) -> None:
        model = tiny_video_model(0)
        # Of masks whose scores lie closer than bfloat16 tells them apart, rounding picks one: here none is picked.
        model.config.multimask_output_for_tracking = False
        model.mask_decoder.config.dynamic_multimask_via_stability = False
        expected = track(model, give(open_session(5), 0, "a"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            masks = track(model, give(open_session(5), 0, "a"))
        for frame, mask in expected.items():
            found, truth = masks[frame]["a"] > 0, mask["a"] > 0
            assert (found & truth).sum() / (found | truth).sum() > 0.95

    def test_attention_implementations_agree(self) -> None:
        eager = tiny_video_model(0)
        eager.set_attn_implementation("eager")
        expected = track(tiny_model(), give(open_session(5), 0, "a"))
        for frame, masks in track(eager, give(open_session(5), 0, "a")).items():
            assert_close_in_scale(masks["a"], expected[frame]["a"], 1e-3)

    def test_a_model_that_was_saved_and_loaded_tracks_the_same(self, tmp_path) -> None:
        tiny_model().save_pretrained(tmp_path)
        loaded = Sam2VideoModel.from_pretrained(tmp_path)
        assert not loaded.training
        masks, expected = (track(model, give(open_session(4), 0, "a")) for model in (loaded, tiny_model()))
        for frame, by_object in expected.items():
            # Weights read from a file lie elsewhere in memory, for which CPUs sum in another order.
            assert_close_in_scale(masks[frame]["a"], by_object["a"], 1e-4)


@pytest.mark.gpu
class TestOnGpu:
    """The model on one device, what is remembered on another; results as on the CPU."""

    @pytest.fixture
    def model(self) -> Sam2VideoModel:
        return tiny_video_model(0).to("cuda")

    @pytest.mark.parametrize("state_device", ["cpu", "cuda"])
    def test_a_clip(self, model: Sam2VideoModel, state_device: str) -> None:
        session = open_session(8, inference_device="cuda", inference_state_device=state_device)
        plain = open_session(8)
        for each in (session, plain):
            for obj_id, kind in enumerate(PROMPTS):
                give(each, obj_id % 3, obj_id, kind)
        masks, expected = track(model, session, direction="both"), track(tiny_model(), plain, direction="both")
        for each, corrected in ((session, model), (plain, tiny_model())):
            give(each, 5, 0, "background", clear_old_inputs=False)
            corrected(each, frame_idx=5)
        stored = [tensor for track in session.tracks.values() for tensor in track.tensors()]
        assert {tensor.device.type for tensor in stored} == {state_device}
        for frame, by_object in expected.items():
            for obj_id, mask in by_object.items():
                found = masks[frame][obj_id]
                assert found.device.type == "cuda"
                union = ((found.cpu() > 0) | (mask > 0)).sum()
                assert union == 0 or ((found.cpu() > 0) & (mask > 0)).sum() / union > 0.99

    def test_a_stream_whose_pixels_and_state_wait_on_the_cpu(self, model: Sam2VideoModel, tmp_path) -> None:
        devices = {"inference_device": "cuda", "inference_state_device": "cpu", "video_storage_device": "cpu"}
        session = give(PROCESSOR.init_video_session(**devices), 0, "a")
        stream(model, session, range(6))
        give(session, 5, "b", "mask")
        assert session.stream_state()[1].device.type == "cpu"
        session.save(tmp_path)
        elsewhere = type(session).load(tmp_path)
        on_gpu, on_cpu = stream(model, session, range(6, 9)), stream(tiny_model(), elsewhere, range(6, 9))
        for frame, by_object in on_cpu.items():
            for obj_id, mask in by_object.items():
                found = on_gpu[frame][obj_id].cpu() > 0
                assert (found & (mask > 0)).sum() / (found | (mask > 0)).sum() > 0.99


class TestPresets:
    @pytest.mark.parametrize("name", PRESETS)
    def test_every_preset_is_built_with_its_parameters(self, name: str) -> None:
        millions = {"tiny": 38.9, "small": 46.0, "base-plus": 80.8, "large": 224.4}
        with torch.device("meta"):
            model = Sam2VideoModel(Sam2VideoConfig.from_preset(name))
        count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        assert count == pytest.approx(millions[name.partition("hiera-")[2]], abs=0.11)
        assert (model.temporal_positional_encoding_projection_layer is not None) == name.startswith("sam2.1")
        assert (model.occlusion_spatial_embedding_parameter is not None) == name.startswith("sam2.1")

    @pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in PRESETS])
    def test_every_preset_loads_and_tracks(self, name: str, tmp_path) -> None:
        self.load_and_track(name, tmp_path)

    def test_a_preset_loads_and_tracks(self, tmp_path) -> None:
        self.load_and_track("sam2.1-hiera-tiny", tmp_path)

    def load_and_track(self, name: str, folder) -> None:
        model = randomize(Sam2VideoModel(Sam2VideoConfig.from_preset(name, image_size=128)))
        model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(30.0)
        model.save_pretrained(folder)
        loaded = Sam2VideoModel.from_pretrained(folder)
        session = open_session(3)
        for obj_id, kind in enumerate(("click", "box", "mask")):
            give(session, 0, obj_id, kind)
        masks = track(loaded, session)
        assert list(masks) == [0, 1, 2]
        for frame in masks.values():
            assert all(mask.isfinite().all() and not is_empty(mask) for mask in frame.values())


@pytest.mark.parametrize("session", [None, {}, "folder"])
def test_a_propagation_without_a_session_is_refused_at_once(session):
    with pytest.raises(TypeError, match="inference_session must be a Sam2VideoInferenceSession, got"):
        tiny_model().propagate_in_video_iterator(session)
