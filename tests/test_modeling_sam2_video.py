"""`Sam2VideoModel`: single frames, streams, many sessions at once, and every size, precision and preset."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from closeness import assert_close_in_scale
from hypothesis import given, settings
from hypothesis import strategies as st
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
    pixels,
    scene_model,
    snapshot,
    stream,
    tiny_model,
    track,
)

from sam2_hf.configuration_sam2 import PRESETS, Sam2VideoConfig
from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.mask_utils import fill_holes
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.object_track import MEMORY_DTYPE
from sam2_hf.outputs import Sam2VideoSegmentationOutput
from sam2_hf.processing_sam2_video import Sam2VideoProcessor

LONG = 20  # longer than all windows of memory


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
                patch.setattr(model, name, failing)
                model(session, frame_idx=3)
            assert snapshot(session) == before, name


def failing(*args, **kwargs):
    raise MemoryError


def open_stream(**settings):
    return PROCESSOR.init_video_session(**settings)


class TestStreams:
    def test_a_stream_is_tracked_as_a_clip_is(self) -> None:
        session = give(open_stream(), 0, "a")
        assert_same(stream(tiny_model(), session, range(LONG)), track(tiny_model(), give(open_session(LONG), 0, "a")))

    def test_forgetting_changes_nothing(self) -> None:
        script = {0: [("click", "a"), ("box", "b")], 9: [("mask", "late")], 12: [("background", "a")]}
        forgetful, whole = self.play(script, "readable"), self.play(script, "everything")
        assert_same(forgetful[1], whole[1])
        assert forgetful[0].state_nbytes < whole[0].state_nbytes

    def play(self, script, retention: str, cap: int = -1, num_frames: int = LONG):
        """A session and its masks, prompted as frames come: on the newest frame, which is then segmented anew."""
        model, session, masks = tiny_model(max_cond_frame_num=cap), open_stream(retention=retention), {}
        for frame in range(num_frames):
            masks.update(stream(model, session, [frame]))
            for what, obj_id in script.get(frame, ()):
                if what == "remove" or what == "clear":
                    if obj_id in session.obj_ids:
                        session.remove_object(obj_id) if what == "remove" else session.clear_prompts(frame, obj_id)
                else:
                    give(session, frame, obj_id, what)
            masks.update({frame + 0.5: collect([model(session, frame_idx=frame)])[frame]})
        return session, masks

    @settings(max_examples=6, deadline=None)
    @given(seed=st.integers(0, 10**6), cap=st.sampled_from([-1, 2]))
    def test_forgetting_changes_nothing_whatever_happens(self, seed: int, cap: int) -> None:
        draw = random.Random(seed)
        script = {
            frame: [(draw.choice([*PROMPTS, "remove", "clear"]), draw.randrange(3)) for _ in range(draw.randint(1, 2))]
            for frame in sorted(draw.sample(range(16), 5))
        }
        assert_same(self.play(script, "readable", cap, 18)[1], self.play(script, "everything", cap, 18)[1])

    def test_a_prompt_on_the_newest_frame_counts_without_another_call(self) -> None:
        asked, unasked = open_stream(), open_stream()
        for session in (asked, unasked):
            stream(tiny_model(), give(session, 0, "a"), range(3))
            give(session, 2, "b", "box")
            give(session, 2, "a", "background")
        tiny_model()(asked, frame_idx=2)
        assert_same(stream(tiny_model(), unasked, range(3, 6)), stream(tiny_model(), asked, range(3, 6)))
        assert unasked.pending_frames() == [] and not unasked.is_gone(5)

    def test_a_prompt_taken_back_from_the_newest_frame_leaves_no_trace(self) -> None:
        corrected, plain = give(open_stream(), 0, "a"), give(open_stream(), 0, "a")
        for session in (corrected, plain):
            stream(tiny_model(), session, range(4))
        give(corrected, 3, "a", "background")
        tiny_model()(corrected, frame_idx=3)
        corrected.clear_prompts(3, "a")
        assert_same(stream(tiny_model(), corrected, range(4, 8)), stream(tiny_model(), plain, range(4, 8)))

    def test_prompts_may_come_before_their_frame(self) -> None:
        session = open_stream()
        give(session, 0, "a")
        give(session, 3, "b", "box")
        masks = stream(tiny_model(), session, range(6))
        assert [frame for frame in masks if is_empty(masks[frame]["b"])] == [0, 1, 2]
        assert session.tracks["b"].conditioning_frames() == [3]

    def test_frames_without_objects_cost_nothing_and_a_first_object_may_come_late(self, monkeypatch) -> None:
        model, session = tiny_model(), open_stream()
        with counted(model, monkeypatch, "encode_frame") as calls:
            masks = stream(model, session, range(5))
        assert masks == {frame: {} for frame in range(5)} and not calls["encode_frame"]
        give(session, 4, "late")
        late = {4: collect([model(session, frame_idx=4)])[4], **stream(model, session, range(5, 9))}
        expected = track(tiny_model(), give(open_session(LONG), 4, "late"), max_frame_num_to_track=4)
        assert_same(late, expected)

    def test_an_output_without_objects_has_no_rows(self) -> None:
        output = tiny_model()(open_stream(), frame=pixels(0))
        assert output.object_ids == [] and output.pred_masks.shape == (0, 1, 32, 32)

    @pytest.mark.parametrize(
        "arguments, error, message",
        [
            ({"frame": torch.zeros(3, 64, 128)}, ValueError, r"pixel_values of the processor, \(3, 128, 128\), got"),
            (
                {"frame": torch.zeros(3, 128, 128, dtype=torch.uint8)},
                ValueError,
                r"finite pixel_values .* torch\.uint8",
            ),
            ({"frame": torch.full((3, 128, 128), torch.inf)}, ValueError, "got NaN or infinite values"),
            ({"frame": "frame.png"}, ValueError, "got str"),
            (
                {"frame": torch.zeros(3, 128, 128), "frame_idx": 2},
                IndexError,
                "the next frame_idx is 4 or above, got 2",
            ),
            ({"frame": torch.zeros(3, 128, 128), "frame_idx": 1.5}, TypeError, "frame_idx must be an int"),
            ({"frame": torch.zeros(3, 128, 128), "frame_idx": 9}, IndexError, "would pass over frame 7"),
            ({"frame_idx": 2}, IndexError, "frame 2 of the stream is gone"),
            ({"frame_idx": 4}, IndexError, "has not come yet: hand it over as frame"),
        ],
    )
    def test_a_bad_frame_leaves_the_stream_as_it_was(self, arguments, error, message) -> None:
        session, unharmed = open_stream(), open_stream()
        for each in (session, unharmed):
            give(give(each, 0, "a"), 7, "b")
            stream(tiny_model(), each, range(4))
        before = snapshot(session)
        with pytest.raises(error, match=message):
            tiny_model()(session, **arguments)
        assert snapshot(session) == before
        assert_same(stream(tiny_model(), session, [4]), stream(tiny_model(), unharmed, [4]))

    def test_a_frame_that_fails_halfway_was_never_there(self, monkeypatch) -> None:
        model, session, unharmed = tiny_model(), give(open_stream(), 0, "a"), give(open_stream(), 0, "a")
        for each in (session, unharmed):
            stream(model, each, range(4))
        before = snapshot(session)
        for name in ("encode_frame", "condition_on_memory", "segment", "encode_memory"):
            with monkeypatch.context() as patch, pytest.raises(MemoryError):
                patch.setattr(model, name, failing)
                model(session, frame=torch.zeros(3, 128, 128))
            assert snapshot(session) == before, name
        assert_same(stream(model, session, range(4, 6)), stream(model, unharmed, range(4, 6)))


class TestEndlessStreams:
    @pytest.fixture(autouse=True)
    def one_thread(self) -> Iterator[None]:
        """A second thread costs more than it helps where a frame takes four milliseconds."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)

    def smallest(self) -> tuple[Sam2VideoModel, Sam2VideoProcessor]:
        model = tiny_video_model(0, image_size=32, width=16, memory_width=4, memory_attention_num_layers=1)
        return model, Sam2VideoProcessor(Sam2ImageProcessor(size={"height": 32, "width": 32}))

    def measure(self, num_frames: int, every: int) -> list[tuple[int, int, int]]:
        """Tensors stored, their bytes, and the tensors alive in the whole process, as the stream goes on."""
        (model, processor), frame = self.smallest(), torch.randn(3, 32, 32, generator=torch.manual_seed(0))
        session, seen = processor.init_video_session(), []
        prompts = {"input_points": [[[[10, 10]], [[20, 20]]]], "input_labels": [[[1], [1]]], "original_size": (32, 32)}
        processor.add_inputs_to_inference_session(session, 0, ["a", "b"], **prompts)
        for index in range(1, num_frames + 1):
            model(session, frame=frame)
            if index % every == 0:
                stored = [tensor for track in session.tracks.values() for tensor in track.tensors()]
                gc.collect()
                alive = sum(1 for thing in gc.get_objects() if type(thing) is torch.Tensor)
                seen.append((len(stored), session.state_nbytes, alive))
        return seen

    def test_a_thousand_frames_take_no_more_than_two_hundred(self) -> None:
        first, *others = self.measure(1000, every=200)
        assert all(other == first for other in others)

    @pytest.mark.slow
    def test_ten_thousand_frames_take_no_more_than_a_thousand(self) -> None:
        first, *others = self.measure(10_000, every=1000)
        assert all(other == first for other in others)

    def test_an_object_of_a_full_size_model_takes_under_16_mib(self) -> None:
        # From the shapes that the published configurations give, on a session that holds what a stream holds.
        config = Sam2VideoConfig.from_preset("sam2.1-hiera-large")
        height, width = config.vision_config.backbone_feature_sizes[-1]
        memory = config.memory_encoder_output_channels * height * width * MEMORY_DTYPE.itemsize
        logits = 4 * (4 * height) * (4 * width)
        pointer = 4 * config.vision_config.fpn_hidden_size
        # One prompt, the window of memories, the newest frame, and the reach of the pointers.
        per_object = (1 + config.num_maskmem) * memory + logits + (config.max_object_pointers_in_encoder + 2) * pointer
        assert memory == 2**19 and per_object < 5 * 2**20 < 16 * 2**20


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
        walks = [tiny_model().propagate_in_video_iterator(self.script(index)) for index in (0, 3)]
        for pair in zip(*walks, strict=True):
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
        expected = track(tiny_model(), give(open_session(5), 0, "a"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            masks = track(tiny_model(), give(open_session(5), 0, "a"))
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
        session = give(open_stream(**devices), 0, "a")
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
