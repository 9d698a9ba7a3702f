"""`torch.compile` of the whole model: no graph breaks, no compiling again between clicks."""

from __future__ import annotations

import pytest
import torch
from prompt_tensors import assert_same_outputs, boxes_for, masks_for, pixels, points_for, uniform
from tiny import tiny_image_model
from torch._dynamo.testing import CompileCounterWithBackend

# Compiled programs sum in another order, and always mask: in them, padding cannot be looked for.
COMPILED = 1e-4  # of the largest value, in float32

PROMPTS = {
    "clicks": points_for(1, 2, 2),
    "boxes": boxes_for(1, 2),
    "clicks and a mask, one mask out": {**points_for(1, 2, 1), **masks_for(1), "multimask_output": False},
}


pytestmark = pytest.mark.usefixtures("fresh_compiler")


@pytest.fixture(scope="module")
def model():
    return tiny_image_model()


def compiled_with_counter(model, backend):
    counter = CompileCounterWithBackend(backend)
    return torch.compile(model, fullgraph=True, backend=counter), counter


@pytest.mark.parametrize("case", PROMPTS)
@torch.no_grad()
def test_forward_is_one_graph(model, case):
    compiled, counter = compiled_with_counter(model, "eager")
    # The vision encoder takes most of the compiler's time, and is the same whatever the prompts.
    image = (
        {"pixel_values": pixels()} if case == "clicks" else {"image_embeddings": model.get_image_embeddings(pixels())}
    )
    inputs = {**image, **PROMPTS[case]}
    assert_same_outputs(compiled(**inputs), model(**inputs), COMPILED)
    assert counter.frame_count == 1


@torch.no_grad()
def test_padding_is_masked_out_in_a_compiled_model_too(model):
    compiled, _ = compiled_with_counter(model, "eager")
    inputs = {**points_for(1, 3, 2), **boxes_for(1, 3), "image_embeddings": model.get_image_embeddings(pixels())}
    inputs["input_labels"][0, 0, 1] = inputs["input_labels"][0, 1:] = -10
    inputs["input_boxes"][0, [0, 2]] = -10
    assert_same_outputs(compiled(**inputs), model(**inputs), COMPILED)


@torch.no_grad()
def test_clicks_of_the_same_number_compile_once(model):
    compiled, counter = compiled_with_counter(model, "eager")
    embeddings = model.get_image_embeddings(pixels())
    for seed in range(4):
        inputs = {"image_embeddings": embeddings, **points_for(1, 2, 2, seed=seed)}
        assert_same_outputs(compiled(**inputs), model(**inputs), COMPILED)
    assert counter.frame_count == 1


@torch.no_grad()
def test_clicks_of_growing_number_compile_twice_at_most(model):
    """Once for the first shape, and once for all other numbers of clicks."""
    compiled, counter = compiled_with_counter(model, "eager")
    embeddings = model.get_image_embeddings(pixels())
    for count in range(1, 6):
        inputs = {"image_embeddings": embeddings, **points_for(1, 1, count)}
        assert_same_outputs(compiled(**inputs), model(**inputs), COMPILED)
    assert counter.frame_count == 2


@pytest.mark.slow
def test_gradients_of_a_compiled_model(model):
    inputs = {"pixel_values": pixels(), **points_for(1, 2, 2)}
    gradients = []
    for function in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        function(**inputs).pred_masks.square().mean().backward()
        gradients.append(model.vision_encoder.backbone.blocks[0].attn.qkv.weight.grad.clone())
    model.zero_grad()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * gradients[0].abs().max().item())


@pytest.mark.slow  # half a minute of C++ compilation
@pytest.mark.parametrize("case", ["clicks", "boxes"])
@torch.no_grad()
def test_inductor(model, case):
    compiled, counter = compiled_with_counter(model, "inductor")
    for seed in range(3):
        inputs = {"pixel_values": pixels(seed=seed), **PROMPTS[case]}
        assert_same_outputs(compiled(**inputs), model(**inputs), COMPILED)
    assert counter.frame_count == 1


@pytest.mark.slow
@torch.no_grad()
def test_inductor_in_bfloat16():
    model = tiny_image_model().to(torch.bfloat16)
    compiled = torch.compile(model, fullgraph=True)
    inputs = {"pixel_values": pixels(), **points_for(1, 2, 2), "attention_similarity": uniform(1, 1, 1, 64)}
    masks, expected = compiled(**inputs).pred_masks, model(**inputs).pred_masks
    # Fused code rounds less often: compared by the side of the threshold on which pixels fall.
    assert ((masks > 0) == (expected > 0)).float().mean() > 0.95
