"""Presets of `model.compile`: the same answers, and nothing is compiled again between clicks or objects."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext

import pytest
import torch
from closeness import assert_close_in_scale
from prompt_tensors import assert_same_outputs, boxes_for, masks_for, pixels, points_for, uniform
from tiny import tiny_image_model, tiny_video_model
from torch._dynamo.testing import CompileCounterWithBackend
from video_scenes import PROCESSOR, give, open_session, prompted, stream, track

from sam2_hf.fast.dispatch import plain_paths

# Programs sum in another order, and always mask padding.
COMPILED = 1e-4  # of the largest value, in float32
# Memories are kept in bfloat16, where such a difference may fall on the other side of a rounding.
REMEMBERED = 2e-3


pytestmark = pytest.mark.usefixtures("fresh_compiler")


@pytest.fixture(scope="module")
def image_model():
    return tiny_image_model()


@pytest.fixture(scope="module")
def video_model():
    return tiny_video_model()


@pytest.fixture(scope="module")
def embeddings(image_model):
    return image_model.get_image_embeddings(pixels())


def compiled(model, preset: str = "throughput", backend: str = "eager"):
    """A copy of the model with a preset, and a counter of what is compiled."""
    counter, model = CompileCounterWithBackend(backend), copy.deepcopy(model)
    model.compile(preset, backend=counter)
    return model, counter


def answers(model, **inputs):
    with torch.no_grad():
        return model(**inputs)


class TestImages:
    def test_from_click_to_click_nothing_is_compiled(self, image_model, embeddings) -> None:
        model, counter = compiled(image_model, "latency")
        for count in (1, 2, 3, 4):
            inputs = {"image_embeddings": embeddings, **points_for(1, 1, count, seed=count)}
            assert_same_outputs(answers(model, **inputs), answers(image_model, **inputs), COMPILED)
        assert counter.frame_count == 1

    def test_from_object_to_object_nothing_is_compiled(self, image_model, embeddings) -> None:
        model, counter = compiled(image_model)
        for count in range(1, 9):
            inputs = {"image_embeddings": embeddings, **points_for(1, count, 1)}
            assert_same_outputs(answers(model, **inputs), answers(image_model, **inputs), COMPILED)
        assert counter.frame_count == 2

    def test_boxes_padding_and_masks(self, image_model, embeddings) -> None:
        model, counter = compiled(image_model)
        ragged = {**points_for(1, 3, 2), **boxes_for(1, 3)}
        ragged["input_labels"][0, 0, 1] = ragged["input_labels"][0, 1:] = -10
        ragged["input_boxes"][0, [0, 2]] = -10
        start = {**masks_for(1, 3), "multimask_output": False}
        for prompts in (ragged, boxes_for(1, 3), {**points_for(1, 3, 1), **start}, start):
            inputs = {"image_embeddings": embeddings, **prompts}
            assert_same_outputs(answers(model, **inputs), answers(image_model, **inputs), COMPILED)
        assert counter.frame_count == 2  # with a mask and without

    def test_images_are_encoded_by_one_program(self, image_model) -> None:
        model, counter = compiled(image_model)
        inputs = {"pixel_values": pixels(), **points_for(1, 1, 1)}
        found, expected = answers(model, **inputs), answers(image_model, **inputs)
        assert_same_outputs(found, expected, COMPILED)
        for level, same in zip(model.get_image_embeddings(pixels()), expected.image_embeddings, strict=True):
            assert_close_in_scale(level, same, COMPILED)
        assert counter.frame_count == 2

    @torch.no_grad()
    def test_scores_first_and_masks_afterwards(self, image_model, embeddings) -> None:
        model, counter = compiled(image_model)
        for prompts in (6, 5, 3):
            inputs = {"image_embeddings": embeddings, **points_for(1, prompts, 1)}
            decoded, expected = model.decode_prompts(**inputs), image_model.decode_prompts(**inputs)
            assert_close_in_scale(decoded.iou_scores, expected.iou_scores, COMPILED)
            chosen = uniform(1, prompts, 4) > 0.4
            masks = model.upscale_masks(decoded, embeddings, chosen)
            assert_close_in_scale(masks, image_model.upscale_masks(expected, embeddings, chosen), COMPILED)
        assert counter.frame_count == 2
        assert model.upscale_masks(decoded, embeddings, torch.zeros(1, 3, 4, dtype=torch.bool)).shape == (0, 32, 32)

    def test_what_has_no_program_is_answered_as_ever(self, image_model, embeddings) -> None:
        model, counter = compiled(image_model)
        inputs = {"image_embeddings": embeddings, **points_for(1, 2, 1)}
        for wish in ({"attention_similarity": uniform(1, 1, 1, 64)}, {"output_attentions": True}):
            found, expected = answers(model, **inputs, **wish), answers(image_model, **inputs, **wish)
            assert found.pred_masks.equal(expected.pred_masks)
        seen = answers(model, pixel_values=pixels(), **points_for(1, 2, 1), output_hidden_states=True)
        assert len(seen.vision_hidden_states) > 1 and counter.frame_count == 1

    def test_wrong_prompts_are_refused_as_ever(self, image_model, embeddings) -> None:
        model, _ = compiled(image_model)
        with pytest.raises(ValueError, match="input_points must have the shape"):
            answers(model, image_embeddings=embeddings, input_points=torch.zeros(1, 2))
        with pytest.raises(ValueError, match="configured shape"):
            model.get_image_embeddings(torch.zeros(1, 3, 7, 7))

    def test_gradients_pass_through_the_plain_form(self, image_model, embeddings) -> None:
        model, counter = compiled(image_model)
        model(image_embeddings=embeddings, **points_for(1, 1, 1)).pred_masks.sum().backward()
        assert model.mask_decoder.iou_token.weight.grad is not None and counter.frame_count == 0


class TestSwitch:
    def test_other_arguments_are_those_of_torch(self, image_model) -> None:
        model, counter = copy.deepcopy(image_model), CompileCounterWithBackend("eager")
        model.compile(backend=counter, fullgraph=True)
        inputs = {"image_embeddings": image_model.get_image_embeddings(pixels()), **points_for(1, 1, 1)}
        assert_same_outputs(answers(model, **inputs), answers(image_model, **inputs), COMPILED)
        assert counter.frame_count == 1
        with pytest.raises(TypeError):
            model.compile(no_such_option=True)

    def test_none_goes_back_to_the_plain_form(self, image_model, embeddings) -> None:
        inputs = {"image_embeddings": embeddings, **points_for(1, 1, 1)}
        for options in ({"preset": "throughput"}, {}):
            model, counter = copy.deepcopy(image_model), CompileCounterWithBackend("eager")
            model.compile(**options, backend=counter)
            model.compile(None)
            assert answers(model, **inputs).pred_masks.equal(answers(image_model, **inputs).pred_masks)
            assert counter.frame_count == 0

    def test_an_unknown_preset_changes_nothing(self, image_model, embeddings) -> None:
        model, counter = compiled(image_model)
        with pytest.raises(ValueError, match="unknown preset 'turbo'"):
            model.compile("turbo")
        answers(model, image_embeddings=embeddings, **points_for(1, 1, 1))
        assert counter.frame_count == 1

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_copies_are_plain(self, image_model, embeddings, duplicate) -> None:
        model, counter = compiled(image_model)
        inputs = {"image_embeddings": embeddings, **points_for(1, 1, 1)}
        assert answers(duplicate(model), **inputs).pred_masks.equal(answers(image_model, **inputs).pred_masks)
        assert counter.frame_count == 0

    def test_a_checkpoint_does_not_show_it(self, image_model, tmp_path) -> None:
        model, _ = compiled(image_model)
        model.save_pretrained(tmp_path)
        assert type(model).from_pretrained(tmp_path).state_dict().keys() == image_model.state_dict().keys()


def assert_close(masks, expected, tolerance: float = REMEMBERED) -> None:
    assert list(masks) == list(expected)
    for frame, by_object in expected.items():
        for obj_id, mask in by_object.items():
            assert_close_in_scale(masks[frame][obj_id], mask, tolerance)


class TestVideos:
    def test_from_object_to_object_nothing_is_compiled(self, video_model) -> None:
        model, counter = compiled(video_model)

        def check(*prompts: tuple) -> int:
            expected = track(video_model, prompted(*prompts, num_frames=5))
            assert_close(track(model, prompted(*prompts, num_frames=5)), expected)
            return counter.frame_count

        # The encoder, a click or tracking, a memory, and reading one memory or several.
        assert check((0, "a")) == 5
        # The same for several objects, except the encoder. Clicked together they share an embedding, tracked they
        # do not.
        assert check((0, "a"), (0, "b")) == 10
        for count in (3, 5, 8):
            # Some come later than others, with other numbers of memories.
            assert check(*((index // 3, index) for index in range(count))) == 10

    @pytest.mark.slow
    def test_from_session_to_session_nothing_is_compiled(self, video_model) -> None:
        model, counter = compiled(video_model)

        def check(count: int) -> int:
            sides = [[prompted((0, "a"), num_frames=4) for _ in range(count)] for _ in range(2)]
            for _ in range(3):
                found, expected = model.step(sides[0]), video_model.step(sides[1])
                for one, other in zip(found, expected, strict=True):
                    assert_close_in_scale(one.pred_masks, other.pred_masks, REMEMBERED)
            return counter.frame_count

        first = check(2)
        assert check(3) == check(5) == first

    def test_from_click_to_click_nothing_is_compiled(self, video_model) -> None:
        model, counter = compiled(video_model)
        sessions = [open_session(4), open_session(4)]
        counts = []
        for frame, kind in [(0, "click"), (0, "clicks"), (2, "background"), (3, "click"), (2, "clicks"), (1, "box")]:
            found, expected = ([], [])
            # Programs sum in the plain order. The fast forms do not, and memories of corrected frames, rounded and
            # binarised, let that grow from correction to correction.
            sides = zip(sessions, (model, video_model), (nullcontext, plain_paths), (found, expected), strict=True)
            for session, tracker, paths, masks in sides:
                give(session, frame, "a", kind)
                with paths():
                    masks.append(tracker(session, frame_idx=frame).pred_masks)
                    masks.extend(output.pred_masks for output in tracker.propagate_in_video_iterator(session))
            for mask, same in zip(found, expected, strict=True):
                assert_close_in_scale(mask, same, REMEMBERED)
            counts.append(counter.frame_count)
        # Several points are answered by one mask; a correction starts from the mask there, and frames before it read
        # its memory but not its pointer. Then all is known.
        assert counts == [5, 6, 8, 8, 8, 8]

    def test_masks_as_prompts_and_streams(self, video_model) -> None:
        model, _ = compiled(video_model)
        expected = track(video_model, prompted((0, "a", "mask"), (1, "b", "empty_mask"), num_frames=3))
        assert_close(track(model, prompted((0, "a", "mask"), (1, "b", "empty_mask"), num_frames=3)), expected)
        found, same = (
            stream(tracker, give(PROCESSOR.init_video_session(), 0, "a"), range(4)) for tracker in (model, video_model)
        )
        assert_close(found, same)

    def test_sam_2_0_has_no_encoding_of_time(self) -> None:
        plain = tiny_video_model(enable_temporal_pos_encoding_for_object_pointers=False)
        model, _ = compiled(plain)
        assert_close(track(model, prompted((0, "a"), num_frames=3)), track(plain, prompted((0, "a"), num_frames=3)))


@pytest.mark.slow  # minutes of C++ compilation
@pytest.mark.parametrize("preset", ["latency", "throughput"])
def test_inductor(image_model, video_model, preset) -> None:
    model = copy.deepcopy(image_model)
    model.compile(preset)
    embeddings = image_model.get_image_embeddings(pixels())
    for count in (1, 2, 5):
        inputs = {"image_embeddings": embeddings, **points_for(1, count, 1)}
        assert_same_outputs(answers(model, **inputs), answers(image_model, **inputs), COMPILED)
    tracker = copy.deepcopy(video_model)
    tracker.compile(preset)
    for prompts in ([(0, "a")], [(0, "a"), (0, "b", "box"), (1, "c")]):
        expected = track(video_model, prompted(*prompts, num_frames=4))
        assert_close(track(tracker, prompted(*prompts, num_frames=4)), expected)


@pytest.mark.slow
def test_inductor_at_the_width_of_the_checkpoints() -> None:
    """There it used to take other products for attention, in which the shapes did not fit."""
    plain = tiny_image_model(width=256, mask_decoder_config={"hidden_size": 256})
    model = copy.deepcopy(plain)
    model.compile("throughput")
    with torch.no_grad():
        inputs = {"image_embeddings": plain.get_image_embeddings(pixels()), **points_for(1, 2, 1)}
        # Random weights of this width blow rounding up: either form is 3e-5 away from double precision.
        assert_same_outputs(model(**inputs), plain(**inputs), 10 * COMPILED)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["latency", "throughput"])
def test_on_a_gpu(video_model, preset) -> None:
    plain, model = copy.deepcopy(video_model).cuda(), copy.deepcopy(video_model).cuda()
    model.compile(preset)
    for prompts in ([(0, "a")], [(index // 3, index) for index in range(5)]):
        found, expected = (
            track(tracker, prompted(*prompts, num_frames=6, inference_device="cuda")) for tracker in (model, plain)
        )
        assert_close(found, expected, 1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", [None, "throughput", "latency"])
def test_a_tracked_frame_waits_for_nothing(video_model, preset) -> None:
    """The CPU may run ahead of the GPU: no value is fetched from there."""
    model = copy.deepcopy(video_model).cuda()
    model.compile(preset)
    track(model, prompted((0, "a"), num_frames=6, inference_device="cuda"))  # compiles
    outputs = model.propagate_in_video_iterator(prompted((0, "a"), num_frames=6, inference_device="cuda"))
    next(outputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(outputs)) == 5
    finally:
        torch.cuda.set_sync_debug_mode("default")
