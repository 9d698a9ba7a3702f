"""The parts of the models, called as in transformers: the same values and gradients on the same weights."""

from __future__ import annotations

import copy

import pytest
import torch
from closeness import assert_close_in_scale
from prompt_tensors import boxes_for, masks_for, pixels, points_for, uniform
from tiny import tiny_image_model, tiny_video_model
from transformers_reference import ReferenceVideoConfig, ReferenceVideoModel, reference_of

TOLERANCE = 1e-4  # of the largest value, in float32; orders of sums differ by up to a tenth of it
NO_PROMPTS = dict.fromkeys(("input_points", "input_labels", "input_boxes", "input_masks"))
PROMPTS = {
    "points": points_for(2, 3, 2),
    "boxes": boxes_for(2, 3),
    "boxes with points": {**boxes_for(2, 3), **points_for(2, 3, 2)},
    "masks": masks_for(2),
    "masks with points": {**masks_for(2), **points_for(2, 3, 1)},
}


@pytest.fixture(scope="module")
def models():
    ours = tiny_image_model()
    return ours, reference_of(ours)


@pytest.fixture(scope="module")
def video_models():
    ours = tiny_video_model(memory_width=64, width=64)
    values = ours.config.to_dict()
    values.pop("model_type")
    theirs = ReferenceVideoModel(ReferenceVideoConfig(**values))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs.eval()


def assert_same(results, expected):
    assert isinstance(results, tuple)
    assert len(results) == len(expected)
    for result, reference in zip(results, expected, strict=True):
        assert (result is None) == (reference is None)
        if isinstance(reference, (tuple, list)):
            assert_same(tuple(result), reference)
        elif reference is not None:
            assert result.shape == reference.shape
            assert_close_in_scale(result, reference, TOLERANCE)


@pytest.mark.parametrize("case", PROMPTS)
@torch.no_grad()
def test_prompt_encoder(models, case):
    assert_same(*(model.prompt_encoder(**{**NO_PROMPTS, **PROMPTS[case]}) for model in models))


@torch.no_grad()
def test_prompt_encoder_of_the_video_model(video_models):
    assert_same(*(model.prompt_encoder(**{**NO_PROMPTS, **points_for(1, 2, 2)}) for model in video_models))


def decoded(model, multimask=True, images=2, **guidance):
    """What the parts give one after the other, as programs that fine-tune call them."""
    embeddings = model.get_image_embeddings(pixels(images))
    prompts = {**NO_PROMPTS, **{name: value[:images] for name, value in points_for(2, 3, 2).items()}}
    sparse, dense = model.prompt_encoder(**prompts)
    return model.mask_decoder(
        image_embeddings=embeddings[-1],
        image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(images, 1, 1, 1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        high_resolution_features=embeddings[:-1],
        **guidance,
    )


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("multimask", [True, False])
@torch.no_grad()
def test_mask_decoder(models, multimask, images):
    assert_same(*(decoded(model, multimask, images) for model in models))


@torch.no_grad()
def test_mask_decoder_with_guidance(models):
    guidance = {"target_embedding": uniform(1, 1, 32, seed=5), "attention_similarity": uniform(1, 1, 1, 64, seed=6)}
    guided, expected = (decoded(model, images=1, **guidance) for model in models)
    assert_same(guided, expected)
    assert not torch.allclose(guided[0], decoded(models[0], images=1)[0], atol=1e-3)


@torch.no_grad()
def test_mask_decoder_without_tokens(models):
    results = []
    for model in models:
        embeddings = model.get_image_embeddings(pixels(1))
        dense = model.prompt_encoder(**{**NO_PROMPTS, **masks_for(1)})[1]
        positions = model.get_image_wide_positional_embeddings()
        empty = torch.zeros(0, 1, 0, 32)
        results.append(model.mask_decoder(embeddings[-1], positions, empty, dense, True, embeddings[:-1]))
    assert_same(*results)
    assert torch.equal(
        models[0].mask_decoder(embeddings[-1], positions, None, dense, True, embeddings[:-1])[0],
        models[0].mask_decoder(embeddings[-1], positions, empty, dense, True, embeddings[:-1])[0],
    )


@torch.no_grad()
def test_the_parts_give_what_the_model_gives(models):
    model = models[0]
    masks, scores, _, object_score = decoded(model)
    output = model(pixels(2), **points_for(2, 3, 2))
    assert_close_in_scale(masks, output.pred_masks, TOLERANCE)
    assert_close_in_scale(scores, output.iou_scores, TOLERANCE)
    assert_close_in_scale(object_score, output.object_score_logits, TOLERANCE)


def test_gradients_pass_through_the_parts(models):
    gradients = []
    for model in (copy.deepcopy(model).double() for model in models):
        embeddings = [level.detach().requires_grad_() for level in model.get_image_embeddings(pixels(1).double())]
        sparse, dense = model.prompt_encoder(**{**NO_PROMPTS, **points_for(1, 3, 2)})
        positions = model.get_image_wide_positional_embeddings()
        masks, scores, tokens, object_score = model.mask_decoder(
            embeddings[-1], positions, sparse, dense, True, embeddings[:-1]
        )
        (masks.square().mean() + scores.sum() + tokens.square().mean() + object_score.sum()).backward()
        parts = (model.prompt_encoder, model.mask_decoder)
        named = {
            name: value.grad for part in parts for name, value in part.named_parameters() if value.grad is not None
        }
        gradients.append((named, [level.grad for level in embeddings]))
    (named, levels), (expected, expected_levels) = gradients
    assert named.keys() == expected.keys() and len(named) > 50
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in named.items():
        # Some are zero but for rounding: the bias of keys shifts all scores alike.
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * largest, msg=name)
    for level, reference in zip(levels, expected_levels, strict=True):
        assert_close_in_scale(level, reference, TOLERANCE)


@torch.no_grad()
def test_trunk(models):
    ours, theirs = (model.vision_encoder.backbone(pixels(2), output_hidden_states=True) for model in models)
    assert list(ours) == list(theirs)
    assert_same(ours.to_tuple(), theirs.to_tuple())
    assert_same(*(model.vision_encoder.backbone(pixels(2), return_dict=False) for model in models))


@torch.no_grad()
def test_vision_encoder(models):
    ours, theirs = (model.vision_encoder(pixels(2), output_hidden_states=True) for model in models)
    assert list(ours) == list(theirs)
    assert ours.pooler_output is theirs.pooler_output is None
    assert_same(ours.to_tuple(), theirs.to_tuple())


@torch.no_grad()
def test_image_features_as_a_tuple(models):
    assert_same(*(model.get_image_features(pixels(2), return_dict=False) for model in models))


@torch.no_grad()
def test_image_embeddings_take_the_options_of_outputs(models):
    plain = models[0].get_image_embeddings(pixels(1))
    asked = models[0].get_image_embeddings(pixels(1), output_attentions=True, output_hidden_states=True)
    assert all(torch.equal(level, expected) for level, expected in zip(asked, plain, strict=True))


def memory_inputs(config, objects, seed=0):
    """Features, memory and both encodings with positions first: two maps of memory and four tokens of a pointer."""
    generator = torch.Generator().manual_seed(seed)
    length, width, hidden = 64, config.memory_encoder_output_channels, config.memory_attention_hidden_size
    shapes = [(length, objects, hidden), (2 * length + 4, objects, width)] * 2
    return [torch.randn(shape, generator=generator) for shape in shapes]


@torch.no_grad()
def test_memory_attention(video_models):
    features, memory, position, memory_position = memory_inputs(video_models[0].config, objects=1)
    ours, theirs = (
        model.memory_attention(
            current_vision_features=features,
            memory=memory,
            current_vision_position_embeddings=position,
            memory_posision_embeddings=memory_position,
            num_object_pointer_tokens=4,
        )
        for model in video_models
    )
    assert ours.shape == theirs.shape == (1, 1, 64, 64)
    assert_close_in_scale(ours, theirs, TOLERANCE)


@torch.no_grad()
def test_memory_attention_without_encodings_adds_none(video_models):
    features, memory, position, memory_position = memory_inputs(video_models[0].config, objects=2)
    attention = video_models[0].memory_attention
    left_out = attention(features, memory, num_object_pointer_tokens=4)
    zeros = attention(features, memory, torch.zeros_like(position), torch.zeros_like(memory_position), 4)
    assert_close_in_scale(left_out, zeros)
    assert not torch.allclose(left_out, attention(features, memory, position, memory_position, 4), atol=1e-3)


def test_gradients_pass_through_memory_attention(video_models):
    gradients = []
    for model in video_models:
        inputs = [x.requires_grad_() for x in memory_inputs(video_models[0].config, objects=1)]
        model.memory_attention(*inputs, 4).square().sum().backward()
        gradients.append([x.grad for x in inputs])
    for ours, theirs in zip(*gradients, strict=True):
        assert_close_in_scale(ours, theirs, 10 * TOLERANCE)


@torch.no_grad()
def test_memory_encoder(video_models):
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 64, 8, 8, generator=generator)
    masks = torch.randn(2, 1, 128, 128, generator=generator)
    assert_same(*(model.memory_encoder(vision_features=features, masks=masks) for model in video_models))
