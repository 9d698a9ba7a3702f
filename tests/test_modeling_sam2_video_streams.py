"""`Sam2VideoModel` on streams: what is forgotten changes nothing, and a bad frame was never there."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_video_model
from video_scenes import (
    PROCESSOR,
    PROMPTS,
    assert_same,
    collect,
    counted,
    flickering_model,
    give,
    is_empty,
    open_session,
    pixels,
    run_out_of_memory,
    snapshot,
    stream,
    tiny_model,
    track,
)

from sam2_hf.configuration_sam2 import Sam2VideoConfig
from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.processing_sam2_video import Sam2VideoProcessor
from sam2_hf.tracking.stored_tensors import MEMORY_DTYPE

LONG = 20  # longer than all windows of memory


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

    def play(self, script, retention: str, cap: int = -1, num_frames: int = LONG, model: Sam2VideoModel | None = None):
        """A session and its masks, prompted as frames come: on the newest frame, which is then segmented anew."""
        model = model or tiny_model(max_cond_frame_num=cap)
        session, masks = open_stream(retention=retention), {}
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
    @given(seed=st.integers(0, 10**6), cap=st.sampled_from([-1, 2]), flickers=st.booleans())
    def test_forgetting_changes_nothing_whatever_happens(self, seed: int, cap: int, flickers: bool) -> None:
        draw = random.Random(seed)
        script = {
            frame: [(draw.choice([*PROMPTS, "remove", "clear"]), draw.randrange(3)) for _ in range(draw.randint(1, 2))]
            for frame in sorted(draw.sample(range(16), 5))
        }
        model = flickering_model(memory_policy="visible", max_cond_frame_num=cap) if flickers else None
        forgetful, whole = (self.play(script, kind, cap, 18, model)[1] for kind in ("readable", "everything"))
        assert_same(forgetful, whole)

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
        assert session.tracks["b"].results.conditioning == [3]

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
                {"frame": torch.zeros(3, 64, 128)},
                ValueError,
                r"; make it with processor\(images=image",
            ),
            ({"frame": torch.full((1, 3, 128, 128), torch.nan)}, ValueError, "got NaN or infinite values"),
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
                patch.setattr(model, name, run_out_of_memory)
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

    def test_two_hundred_frames_take_no_more_than_forty(self) -> None:
        first, *others = self.measure(200, every=40)
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
