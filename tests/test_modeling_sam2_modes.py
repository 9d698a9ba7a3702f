"""`Sam2Model` in other modes: attention implementations, half precision, training."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from prompt_tensors import OUTPUTS, assert_same_outputs, boxes_for, masks_for, pixels, points_for, uniform
from tiny import tiny_config, tiny_image_model

from sam2_hf.modeling_sam2 import Sam2Model

INPUTS = {**points_for(2, 3, 2), **boxes_for(2, 3), **masks_for(2)}
REORDERED = 1e-4  # of the largest value, in float32: the same sums in another order, through all layers


@pytest.fixture(scope="module")
def model():
    return tiny_image_model()


class TestAttentionImplementation:
    @staticmethod
    def implementations(model):
        return {part.config._attn_implementation for part in model.modules() if hasattr(part, "config")}

    @torch.no_grad()
    def test_eager_equals_sdpa(self, model):
        eager = Sam2Model._from_config(tiny_config(), attn_implementation="eager").eval()
        eager.load_state_dict(model.state_dict())
        assert self.implementations(model) == {"sdpa"}
        assert self.implementations(eager) == {"eager"}
        assert_same_outputs(eager(pixels(2), **INPUTS), model(pixels(2), **INPUTS), REORDERED)

    @torch.no_grad()
    def test_can_be_switched_afterwards(self):
        model = tiny_image_model()
        expected = model(pixels(2), **INPUTS)
        model.set_attn_implementation("eager")
        assert self.implementations(model) == {"eager"}
        assert_same_outputs(model(pixels(2), **INPUTS), expected, REORDERED)
        model.set_attn_implementation("sdpa")
        assert self.implementations(model) == {"sdpa"}

    def test_can_differ_between_parts(self, model):
        choice = {"vision_config": "eager"}
        mixed = Sam2Model._from_config(tiny_config(), attn_implementation=choice)
        assert self.implementations(mixed.vision_encoder) == {"eager"}
        assert self.implementations(mixed.mask_decoder) == {"sdpa"}
        switched = tiny_image_model()
        switched.set_attn_implementation(choice)
        assert self.implementations(switched.vision_encoder) == {"eager"}
        assert self.implementations(switched.mask_decoder) == {"sdpa"}

    def test_can_differ_between_parts_of_parts(self):
        model = tiny_image_model()
        vision = model.vision_encoder
        model.set_attn_implementation({"vision_config": {"": "eager", "backbone_config": "sdpa"}})
        assert vision.config._attn_implementation == "eager"
        assert self.implementations(vision.backbone) == {"sdpa"}
        model.set_attn_implementation({"vision_config": {"backbone_config": "eager"}})
        assert self.implementations(vision) == {"eager"}
        assert self.implementations(model.mask_decoder) == {"sdpa"}
        vision.set_attn_implementation({"backbone_config": "sdpa"})
        assert self.implementations(vision.backbone) == {"sdpa"} and vision.config._attn_implementation == "eager"

    def test_what_is_not_named_stays(self):
        model = tiny_image_model()
        model.set_attn_implementation({"vision_config": "eager"})
        model.set_attn_implementation({"mask_decoder_config": "eager"})
        assert self.implementations(model.vision_encoder) == self.implementations(model.mask_decoder) == {"eager"}
        assert model.config._attn_implementation == "sdpa"

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ({"vision_config": {"": "eager", "backbone_config": "fastest"}}, "fastest"),
            ({"": "eager", "visoin_config": "eager"}, "'vision_config'.*got {'visoin_config'}"),
        ],
    )
    def test_an_unknown_one_is_refused_and_changes_nothing(self, choice, message):
        model = tiny_image_model()
        with pytest.raises(ValueError, match=message):
            model.set_attn_implementation(choice)
        assert self.implementations(model) == {"sdpa"}

    def test_a_configuration_can_serve_several_models(self):
        config = tiny_config()
        Sam2Model._from_config(config, attn_implementation="eager")
        assert self.implementations(Sam2Model._from_config(config, attn_implementation="sdpa")) == {"sdpa"}


class TestPrecision:
    def agreement(self, masks, expected):
        """The share of pixels that fall on the same side of the threshold."""
        return ((masks > 0) == (expected > 0)).float().mean().item()

    # Random weights pass rounding on with no mercy; that ours is no worse than transformers' is shown elsewhere.
    @pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 0.95), (torch.float16, 0.99)])
    @pytest.mark.parametrize("multimask", [True, False])
    @torch.no_grad()
    def test_half_precision_gives_much_the_same_masks(self, model, dtype, least, multimask):
        expected = model(pixels(2), **INPUTS)
        half = tiny_image_model().to(dtype)
        output = half(pixels(2), **INPUTS)  # the encoder brings float32 pixels to its own precision
        assert {getattr(output, name).dtype for name in OUTPUTS} == {dtype}
        assert self.agreement(output.pred_masks, expected.pred_masks) > least
        assert (output.iou_scores - expected.iou_scores).abs().mean() < 0.05
        if not multimask:
            single = half(pixels(2), **INPUTS, multimask_output=False)
            assert single.pred_masks.isfinite().all()

    @torch.no_grad()
    def test_positions_stay_exact_in_half_precision(self, model):
        half = tiny_image_model().to(torch.bfloat16)
        exact = half.get_image_wide_positional_embeddings().float()
        float32 = tiny_image_model()
        for embedding in (float32.shared_image_embedding, float32.prompt_encoder.shared_embedding):
            embedding.positional_embedding.copy_(embedding.positional_embedding.to(torch.bfloat16))
        expected = float32.get_image_wide_positional_embeddings()
        torch.testing.assert_close(exact, expected, atol=2**-8, rtol=0)  # one rounding to bfloat16

    @torch.no_grad()
    def test_autocast(self, model):
        expected = model(pixels(2), **INPUTS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(pixels(2), **INPUTS)
            model(pixels(2), **points_for(2, 3, 2), attention_similarity=uniform(1, 1, 1, 64))
        assert self.agreement(output.pred_masks, expected.pred_masks) > 0.95

    @torch.no_grad()
    def test_guidance_in_float32_goes_with_half_precision(self):
        half = tiny_image_model().to(torch.bfloat16)
        output = half(pixels(), **points_for(1, 3, 2), attention_similarity=uniform(1, 1, 1, 64))
        assert output.pred_masks.isfinite().all()


def checkpoint_activations(model):
    """Under the newer of its two names, where there are two."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()


class TestTraining:
    def gradients(self, model, **inputs):
        output = model(pixels(2), **inputs)
        loss = sum(getattr(output, name).square().mean() for name in OUTPUTS)
        loss.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    def test_gradients_reach_every_parameter_that_took_part(self):
        gradients = self.gradients(tiny_image_model().train(), **INPUTS)
        untouched = {name for name, gradient in gradients.items() if gradient is None}
        assert untouched == {"prompt_encoder.no_mask_embed.weight"}
        without_masks = self.gradients(tiny_image_model().train(), **points_for(2, 3, 2))
        assert without_masks["prompt_encoder.no_mask_embed.weight"].any()
        assert all(
            (gradient is None) == name.startswith("prompt_encoder.mask_embed")
            for name, gradient in without_masks.items()
        )

    def test_gradients_reach_pixels_and_masks(self):
        model = tiny_image_model().train()
        image, mask = pixels(1).requires_grad_(), masks_for(1)["input_masks"].requires_grad_()
        model(image, **points_for(1, 1, 1), input_masks=mask).pred_masks.mean().backward()
        assert image.grad.any()
        assert mask.grad.any()

    def test_checkpointing_gives_the_same_gradients(self):
        expected = self.gradients(tiny_image_model().train(), **INPUTS)
        model = tiny_image_model().train()
        checkpoint_activations(model)
        for name, gradient in self.gradients(model, **INPUTS).items():
            if gradient is not None:
                torch.testing.assert_close(gradient, expected[name])

    def test_checkpointing_recomputes_the_blocks(self):
        model = tiny_image_model().train()
        checkpoint_activations(model)
        calls = []
        for part in (model.vision_encoder.backbone.blocks[0].attn, model.mask_decoder.transformer.layers[0].self_attn):
            part.register_forward_hook(lambda module, *_: calls.append(type(module).__name__))
        self.gradients(model, **INPUTS)
        assert sorted(calls) == ["MultiScaleAttention"] * 2 + ["PromptAttention"] * 2

    def test_single_masks_are_not_replaced_while_training(self):
        model = tiny_image_model().train()
        model.config.mask_decoder_config.dynamic_multimask_stability_thresh = 1.01
        prompts = points_for(1, 3, 1)
        embeddings = model.get_image_embeddings(pixels())
        decoded = model.decode_prompts(embeddings, **prompts)
        selection = torch.zeros(1, 3, 4, dtype=torch.bool)
        selection[:, :, 0] = True
        expected = model.upscale_masks(decoded, embeddings, selection)
        output = model(pixels(), **prompts, multimask_output=False)
        assert_close_in_scale(output.pred_masks.flatten(0, 2), expected)

    def test_embedding_images_or_prompts_ahead_takes_no_gradients(self, model):
        assert not any(level.requires_grad for level in model.get_image_embeddings(pixels()))
        assert not model.get_prompt_embeddings(**points_for(1, 1, 1))[0].requires_grad
