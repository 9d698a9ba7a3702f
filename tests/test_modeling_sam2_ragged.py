"""Ragged batches: a prompt among others, filled up with padding, gives what it gives alone."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_tensors import OUTPUTS, boxes_for, pixels, points_for
from tiny import tiny_image_model

from sam2_hf.network.mask_decoder import NO_OBJECT_LOGIT
from sam2_hf.prompt_values import PAD_VALUE

ALONE = 1e-5  # of the largest value, in float32


@pytest.fixture(scope="module")
def model():
    return tiny_image_model()


@pytest.fixture(scope="module")
def exact_model():
    return tiny_image_model().double()


def padded(batch, images, prompts):
    """The tensors of a ragged batch, a mapping from (image, prompt) to that prompt's arguments, filled up."""
    count = max((alone["input_points"].shape[2] for alone in batch.values() if "input_points" in alone), default=0)
    tensors = {
        "input_points": torch.zeros(images, prompts, count, 2),
        "input_labels": torch.full((images, prompts, count), PAD_VALUE),
        "input_boxes": torch.full((images, prompts, 4), float(PAD_VALUE)),
    }
    for (image, prompt), alone in batch.items():
        for name, value in alone.items():
            if name == "input_boxes":
                tensors[name][image, prompt] = value[0, 0]
            else:
                tensors[name][image, prompt, : value.shape[2]] = value[0, 0]
    return {name: tensor for name, tensor in tensors.items() if count or name == "input_boxes"}


@torch.no_grad()
def assert_same_as_alone(model, batch, multimask=True):
    """`batch` maps (image, prompt) to the arguments of that prompt alone; all others are padding alone."""
    images, prompts = (1 + max(key[axis] for key in batch) for axis in (0, 1))
    embeddings = model.get_image_embeddings(pixels(images))
    together = model(image_embeddings=embeddings, multimask_output=multimask, **padded(batch, images, prompts))
    for image in range(images):
        own_image = [level[image : image + 1] for level in embeddings]
        for prompt in range(prompts):
            outputs = {name: getattr(together, name)[image : image + 1, prompt : prompt + 1] for name in OUTPUTS}
            if alone := batch.get((image, prompt)):
                expected = model(image_embeddings=own_image, multimask_output=multimask, **alone)
                for name in OUTPUTS:
                    assert_close_in_scale(outputs[name], getattr(expected, name), ALONE)
            else:
                assert (outputs["pred_masks"] == NO_OBJECT_LOGIT).all()
                assert (outputs["iou_scores"] == 0).all()
                assert (outputs["object_score_logits"] == NO_OBJECT_LOGIT).all()


@pytest.mark.parametrize("multimask", [True, False])
def test_points_of_different_number(model, multimask):
    batch = {(0, prompt): points_for(1, 1, 1 + prompt, seed=prompt) for prompt in range(4)}
    assert_same_as_alone(model, batch, multimask)


def test_boxes_of_different_number_on_two_images(model):
    boxes = [boxes_for(1, 1, seed=seed) for seed in (4, 5, 6)]
    assert_same_as_alone(model, {(0, 0): boxes[0], (1, 0): boxes[1], (1, 1): boxes[2]})


def test_points_for_some_boxes_for_others_and_both_for_one(model):
    both = {**points_for(1, 1, 1, seed=7), **boxes_for(1, 1, seed=8)}
    assert_same_as_alone(model, {(0, 0): points_for(1, 1, 2), (0, 1): boxes_for(1, 1), (0, 2): both})


def test_objects_of_padding_alone_have_no_mask(model):
    assert_same_as_alone(model, {(0, 1): points_for(1, 1, 1), (1, 3): boxes_for(1, 1)})


def test_a_box_as_points_instead_of_a_box(model):
    """Labels 2 and 3 are a box's corners, so that clicks and boxes fit into one list of points."""
    box = boxes_for(1, 1)["input_boxes"]
    corners = {"input_points": box.view(1, 1, 2, 2), "input_labels": torch.tensor([[[2, 3]]])}
    with torch.no_grad():
        as_points, as_box = model(pixels(), **corners), model(pixels(), input_boxes=box)
    for name in OUTPUTS:
        assert_close_in_scale(getattr(as_points, name), getattr(as_box, name), ALONE)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_ragged_batch(exact_model, data):
    """In double precision, for padding changes the order of sums. Positions are still encoded in float32."""
    keys = st.tuples(st.integers(0, 1), st.integers(0, 2))
    kinds = st.tuples(st.integers(0, 3), st.booleans())
    shapes = data.draw(st.dictionaries(keys, kinds, min_size=1, max_size=6))
    batch = {}
    for seed, (key, (count, has_box)) in enumerate(shapes.items()):
        points = points_for(1, 1, count, seed=seed) if count else {}
        batch[key] = {**points, **(boxes_for(1, 1, seed=seed + 50) if has_box else {})}
    assert_same_as_alone(exact_model, batch, data.draw(st.booleans()))
