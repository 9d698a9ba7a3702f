"""`Sam2Model` against the one of transformers, on the same weights."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from prompt_tensors import OUTPUTS, SIZE, assert_same_outputs, boxes_for, masks_for, pixels, points_for, uniform
from safetensors import safe_open
from tiny import randomize, tiny_config, tiny_image_model, tiny_video_model
from transformers_reference import (
    ReferenceModel,
    ReferenceVideoConfig,
    ReferenceVideoModel,
    reference_of,
)

from sam2_hf.configuration_sam2 import Sam2Config
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.modeling_sam2_video import Sam2VideoModel

TOLERANCE = 1e-4  # of the largest value, in float32


PROMPTS = {
    "one click": points_for(1, 1, 1),
    "clicks without labels": {"input_points": points_for(1, 2, 2)["input_points"]},
    "several clicks on several objects": points_for(1, 4, 3),
    "one box": boxes_for(1, 1),
    "several boxes": boxes_for(1, 3),
    "boxes with clicks": {**boxes_for(1, 3), **points_for(1, 3, 2)},
    "a mask": masks_for(1),
    "a mask with a click": {**masks_for(1), **points_for(1, 1, 1)},
    "a mask with a box": {**masks_for(1), **boxes_for(1, 1)},
    "one mask for several objects": {**masks_for(1), **points_for(1, 3, 1)},
    "a mask of the image's size": masks_for(1, size=SIZE),
    "nothing": {},
    "clicks on two images": points_for(2, 3, 2),
    "boxes and clicks on two images": {**boxes_for(2, 2), **points_for(2, 2, 1)},
    "masks for two images": masks_for(2),
}


@pytest.fixture(scope="module")
def models():
    ours = tiny_image_model()
    return ours, reference_of(ours)


class TestPrompts:
    @pytest.mark.parametrize("multimask", [True, False], ids=["three masks", "one mask"])
    @pytest.mark.parametrize("case", PROMPTS)
    @torch.no_grad()
    def test_masks_and_scores(self, models, case, multimask):
        inputs = {**PROMPTS[case], "multimask_output": multimask}
        inputs["pixel_values"] = pixels(2 if "two images" in case else 1)
        ours, theirs = (model(**inputs) for model in models)
        assert_same_outputs(ours, theirs, TOLERANCE)

    @torch.no_grad()
    def test_masks_that_go_in_and_out_of_a_refinement(self, models):
        """As the model card refines: the best mask of a click goes in with a second click."""
        results = []
        for model in models:
            embeddings = model.get_image_embeddings(pixels())
            first = model(image_embeddings=embeddings, **points_for(1, 1, 1))
            best = first.pred_masks[:, :, first.iou_scores[0, 0].argmax()]
            results.append(
                model(
                    image_embeddings=embeddings, input_masks=best, multimask_output=False, **points_for(1, 1, 2, seed=5)
                )
            )
        assert_same_outputs(*results, TOLERANCE)

    @torch.no_grad()
    def test_guidance_to_a_target(self, models):
        guidance = {
            "target_embedding": torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(5)),
            "attention_similarity": uniform(1, 1, 1, 64, seed=6),
        }
        ours, theirs = (model(pixels(), **points_for(1, 3, 2), **guidance) for model in models)
        assert_same_outputs(ours, theirs, TOLERANCE)

    def test_the_cases_hold_masks_that_are_neither_full_nor_empty(self, models):
        with torch.no_grad():
            masks = models[0](pixels(), **PROMPTS["several clicks on several objects"]).pred_masks > 0
        filled = masks.float().mean((-2, -1))
        assert ((filled > 0.01) & (filled < 0.99)).float().mean() > 0.5


class TestRaggedBatches:
    """What transformers gives for each prompt alone is what we give for all of them, padded."""

    @torch.no_grad()
    def test_clicks_of_different_number(self, models):
        ours, theirs = models
        batch = points_for(1, 4, 4)
        counts = [1, 2, 3, 4]
        for prompt, count in enumerate(counts):
            batch["input_labels"][0, prompt, count:] = -10
        together = ours(pixels(), **batch)
        for prompt, count in enumerate(counts):
            alone = theirs(
                pixels(),
                input_points=batch["input_points"][:, prompt : prompt + 1, :count],
                input_labels=batch["input_labels"][:, prompt : prompt + 1, :count],
            )
            for name in OUTPUTS:
                assert_close_in_scale(getattr(together, name)[:, prompt], getattr(alone, name)[:, 0], TOLERANCE)

    @torch.no_grad()
    def test_boxes_of_different_number_on_two_images(self, models):
        ours, theirs = models
        boxes = boxes_for(2, 3)["input_boxes"]
        boxes[1, 1:] = -10
        together = ours(pixels(2), input_boxes=boxes)
        first = theirs(pixels(2)[:1], input_boxes=boxes[:1])
        second = theirs(pixels(2)[1:], input_boxes=boxes[1:, :1])
        for name in OUTPUTS:
            assert_close_in_scale(getattr(together, name)[:1], getattr(first, name), TOLERANCE)
            assert_close_in_scale(getattr(together, name)[1:, :1], getattr(second, name), TOLERANCE)

    @torch.no_grad()
    def test_clicks_on_some_objects_and_boxes_around_others(self, models):
        ours, theirs = models
        clicks, boxes = points_for(1, 2, 2), boxes_for(1, 2)["input_boxes"]
        clicks["input_labels"][0, 1] = -10
        boxes[0, 0] = -10
        together = ours(pixels(), **clicks, input_boxes=boxes)
        clicked = theirs(pixels(), **{name: value[:, :1] for name, value in clicks.items()})
        boxed = theirs(pixels(), input_boxes=boxes[:, 1:])
        for name in OUTPUTS:
            assert_close_in_scale(getattr(together, name)[:, 0], getattr(clicked, name)[:, 0], TOLERANCE)
            assert_close_in_scale(getattr(together, name)[:, 1], getattr(boxed, name)[:, 0], TOLERANCE)


class TestTrunks:
    """The four published trunks in their full widths and depths, on a small image."""

    @staticmethod
    def model_of(trunk, **overrides):
        config = Sam2Config.from_preset(f"sam2.1-hiera-{trunk}", image_size=SIZE)
        for name, value in overrides.items():
            setattr(config.vision_config.backbone_config, name, value)
        model = randomize(Sam2Model(config)).eval()
        # Random attention of this width picks single positions, and a rounding of 1e-7 comes out as up to 4e-3. With
        # weaker scores it stays below 1.2e-5 on processors with AVX2 and with AVX-512.
        for name, parameter in model.mask_decoder.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                parameter.data.mul_(0.25)
        return model

    @staticmethod
    @torch.no_grad()
    def assert_parity(ours):
        theirs = reference_of(ours)
        inputs = {**points_for(1, 2, 2), **boxes_for(1, 2)}
        embeddings, expected = ours.get_image_embeddings(pixels()), theirs(pixels(), **inputs)
        for level, reference in zip(embeddings, expected.image_embeddings, strict=True):
            assert_close_in_scale(level, reference)
        for given in ({"image_embeddings": list(expected.image_embeddings)}, {"pixel_values": pixels()}):
            assert_same_outputs(ours(**given, **inputs), expected, TOLERANCE)

    @pytest.mark.parametrize("trunk", ["tiny", "small", "base-plus"])
    def test_whole(self, trunk):
        self.assert_parity(self.model_of(trunk))

    def test_large_with_fewer_blocks_in_its_third_stage(self):
        model = self.model_of("large", blocks_per_stage=[2, 6, 6, 4], global_attention_blocks=[9, 11, 13])
        self.assert_parity(model)

    @pytest.mark.slow
    def test_large(self):
        self.assert_parity(self.model_of("large"))

    def test_windows_that_do_not_tile_their_map(self):
        """256 pixels are maps of 64, 32, 16 and 8 positions; windows of 14 and 7 leave a rest on the last two."""
        config = tiny_config(image_size=256)
        config.vision_config.backbone_config.window_size_per_stage = [8, 4, 14, 7]
        ours = randomize(Sam2Model(config)).eval()
        theirs = reference_of(ours)
        inputs = {"pixel_values": pixels(height=256), **points_for(1, 2, 2, size=256)}
        with torch.no_grad():
            assert_same_outputs(ours(**inputs), theirs(**inputs), TOLERANCE)


class TestParts:
    @torch.no_grad()
    def test_image_embeddings(self, models):
        ours, theirs = (model.get_image_embeddings(pixels(2)) for model in models)
        assert len(ours) == 3
        for level, reference in zip(ours, theirs, strict=True):
            assert_close_in_scale(level, reference)

    # transformers' get_prompt_embeddings asks for labels, and for masks of the decoder's size.
    @pytest.mark.parametrize("case", sorted(PROMPTS.keys() - {"clicks without labels", "a mask of the image's size"}))
    @torch.no_grad()
    def test_prompt_embeddings(self, models, case):
        names = ("input_points", "input_labels", "input_boxes", "input_masks")
        inputs = {name: PROMPTS[case].get(name) for name in names}
        (tokens, dense), (expected_tokens, expected_dense) = (model.get_prompt_embeddings(**inputs) for model in models)
        if expected_tokens is None:
            assert tokens is None
        else:
            assert_close_in_scale(tokens, expected_tokens)
        assert_close_in_scale(dense, expected_dense)

    @torch.no_grad()
    def test_image_features(self, models):
        ours, theirs = (model.get_image_features(pixels(2)) for model in models)
        for name in ("fpn_hidden_states", "fpn_position_encoding"):
            for level, reference in zip(getattr(ours, name), getattr(theirs, name), strict=True):
                assert_close_in_scale(level, reference)

    @torch.no_grad()
    def test_positions_of_the_image(self, models):
        ours, theirs = (model.get_image_wide_positional_embeddings() for model in models)
        assert_close_in_scale(ours, theirs)

    @torch.no_grad()
    def test_vision_encoder(self, models):
        ours, theirs = (model.vision_encoder(pixels(2), output_hidden_states=True) for model in models)
        assert_close_in_scale(ours.last_hidden_state, theirs.last_hidden_state)
        for name in ("fpn_hidden_states", "hidden_states"):
            for level, reference in zip(getattr(ours, name), getattr(theirs, name), strict=True):
                assert_close_in_scale(level, reference)
        for level, reference in zip(ours.fpn_position_encoding, theirs.fpn_position_encoding, strict=True):
            assert_close_in_scale(level, reference)

    @torch.no_grad()
    def test_hidden_states_of_the_whole_model(self, models):
        ours, theirs = (model(pixels(), output_hidden_states=True).vision_hidden_states for model in models)
        for level, reference in zip(ours, theirs, strict=True):
            assert_close_in_scale(level, reference)


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @torch.no_grad()
    def test_half_precision_is_no_further_from_float32_than_theirs(self, dtype):
        exact, ours = tiny_image_model(), tiny_image_model().to(dtype)
        theirs = reference_of(exact).to(dtype)
        inputs = {**points_for(16, 3, 2), **boxes_for(16, 3)}
        expected = exact(pixels(16), **inputs).pred_masks
        errors = [
            (model(pixels(16).to(dtype), **inputs).pred_masks.float() - expected).abs().mean().item()
            for model in (ours, theirs)
        ]
        # Both errors are sums of roundings: between equally good programs they differ by chance alone, by as much
        # as a half for two images, which is why there are sixteen.
        assert errors[0] < 1.4 * errors[1]
        assert errors[0] < 0.1 * expected.std()


class TestTraining:
    def test_gradients(self):
        ours = tiny_image_model().train()
        theirs = reference_of(ours)
        inputs = {**points_for(2, 1, 2), **boxes_for(2, 1), **masks_for(2)}
        for model in (ours, theirs):
            outputs = model(pixels(2), **inputs)
            loss = outputs.pred_masks.square().mean() + outputs.iou_scores.sum() + outputs.object_score_logits.sum()
            loss.backward()
        expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
        compared = 0
        for name, parameter in ours.named_parameters():
            assert (parameter.grad is None) == (expected[name] is None), name
            # A key's bias shifts all scores of a query alike, so its gradient is the rounding of a sum that is 0.
            if parameter.grad is None or name.endswith("k_proj.bias"):
                continue
            if expected[name].any():
                assert_close_in_scale(parameter.grad, expected[name], TOLERANCE)
                compared += 1
            else:
                assert not parameter.grad.any(), name
        assert compared > 150


def file_contents(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def assert_loads_completely(model_class, folder):
    model, report = model_class.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def tiny_reference_video_model(seed=0):
    values = tiny_config(video=True).to_dict()
    values.pop("model_type")
    # Its memory attention is made for memories of 64 channels.
    values["memory_encoder_output_channels"] = 64
    return ReferenceVideoModel(ReferenceVideoConfig(**values)).eval()


class TestFolders:
    """What one library saves, the other loads."""

    def test_transformers_loads_ours(self, tmp_path):
        ours = tiny_image_model()
        ours.save_pretrained(tmp_path)
        theirs = assert_loads_completely(ReferenceModel, tmp_path)
        with torch.no_grad():
            assert_same_outputs(
                ours(pixels(), **points_for(1, 2, 2)), theirs(pixels(), **points_for(1, 2, 2)), TOLERANCE
            )

    def test_we_load_theirs(self, models, tmp_path):
        theirs = models[1]
        theirs.save_pretrained(tmp_path)
        ours = assert_loads_completely(Sam2Model, tmp_path)
        with torch.no_grad():
            assert_same_outputs(
                ours(pixels(), **points_for(1, 2, 2)), theirs(pixels(), **points_for(1, 2, 2)), TOLERANCE
            )

    def test_files_hold_the_same_names_and_shapes(self, models, tmp_path):
        for model, folder in zip(models, (tmp_path / "ours", tmp_path / "theirs"), strict=True):
            model.save_pretrained(folder)
        assert file_contents(tmp_path / "ours") == file_contents(tmp_path / "theirs")

    def test_files_of_video_models_hold_the_same_names_and_shapes(self, tmp_path):
        """In the published widths, where transformers has no assumptions of its own."""
        with torch.device("meta"):
            ours = Sam2VideoModel(Sam2VideoModel.config_class()).state_dict()
            theirs = ReferenceVideoModel(ReferenceVideoConfig()).state_dict()
        assert {name: value.shape for name, value in ours.items()} == {
            name: value.shape for name, value in theirs.items()
        }

    def test_their_image_model_loads_our_video_checkpoint(self, tmp_path):
        video = tiny_video_model()
        video.save_pretrained(tmp_path)
        theirs, ours = ReferenceModel.from_pretrained(tmp_path).eval(), Sam2Model.from_pretrained(tmp_path).eval()
        with torch.no_grad():
            assert_same_outputs(ours(pixels(), **boxes_for(1, 2)), theirs(pixels(), **boxes_for(1, 2)), TOLERANCE)

    def test_our_image_model_loads_their_video_checkpoint(self, tmp_path):
        theirs = tiny_reference_video_model()
        theirs.save_pretrained(tmp_path)
        ours = Sam2Model.from_pretrained(tmp_path)
        expected = theirs.state_dict()
        for name, value in ours.state_dict().items():
            assert torch.equal(value, expected[name]), name
