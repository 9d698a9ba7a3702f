"""`Sam2Model`: prompts to masks, what it returns, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from prompt_tensors import OUTPUTS, assert_same_outputs, boxes_for, masks_for, pixels, points_for, uniform
from tiny import tiny_config, tiny_image_model

from sam2_hf.modeling_sam2 import Sam2Model

SAME = 1e-5  # of the largest value, in float32


@pytest.fixture(scope="module")
def model():
    return tiny_image_model()


class TestValuesOfPixels:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_what_is_not_finite_is_refused_by_every_call(self, model, value, dtype):
        broken = pixels(2).to(dtype)
        broken[1, 2, 5, 7] = value
        for call in (
            lambda: model(broken, **points_for(2, 1, 1)),
            lambda: model.get_image_embeddings(broken),
            lambda: model.get_image_features(broken),
        ):
            with pytest.raises(ValueError, match=r"pixel_values must be .*finite .*, got NaN"):
                call()

    @pytest.mark.parametrize(
        ("pixel_values", "error", "got"),
        [
            ({"pixel_values": 1}, TypeError, "got dict; a processor makes tensors .* model\\(\\*\\*inputs\\)"),
            (None, TypeError, "got NoneType"),
            (pixels().numpy(), TypeError, "got ndarray"),
            (pixels() * 1j, TypeError, "got a complex tensor"),
            (pixels().to_sparse(), TypeError, "got a sparse tensor"),
            ((pixels() * 100).to(torch.uint8), ValueError, "as the processor gives them, got torch.uint8"),
            (pixels().bool(), ValueError, "as the processor gives them, got torch.bool"),
        ],
        ids=["dict", "none", "array", "complex", "sparse", "bytes", "bool"],
    )
    def test_what_holds_no_normalised_pixels_is_refused(self, model, pixel_values, error, got):
        with pytest.raises(error, match=f"pixel_values must be .*{got}"):
            model.get_image_embeddings(pixel_values)
        if pixel_values is not None:
            with pytest.raises(error, match=f"pixel_values must be .*{got}"):
                model(pixel_values)

    def test_eight_bits_are_read_where_they_are_floating_numbers(self, model):
        small = pixels().to(torch.float8_e4m3fn)
        maps = model.get_image_embeddings(small)
        assert all(map(torch.equal, maps, model.get_image_embeddings(small.float())))

    @torch.no_grad()
    def test_finite_values_are_taken_although_their_sum_is_not(self, model):
        assert len(model.get_image_embeddings(torch.full((1, 3, 128, 128), 1e37))) == 3


class TestValuesOfPrompts:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    @pytest.mark.parametrize("name", ["input_points", "input_boxes", "input_masks"])
    def test_what_is_not_finite_is_refused(self, model, name, value):
        shapes = {"input_points": (1, 1, 1, 2), "input_boxes": (1, 1, 4), "input_masks": (1, 1, 32, 32)}
        with pytest.raises(ValueError, match=f"{name} must hold finite numbers, got NaN or infinite values"):
            model(pixels(), **{name: torch.full(shapes[name], value)})

    @pytest.mark.parametrize("label", [4, -2, 2**40, 1.5, torch.nan])
    def test_labels_that_are_none_are_refused(self, model, label):
        with pytest.raises(ValueError, match=r"input_labels must be one of 1 \(object\), 0 \(background\), .*; got"):
            model(pixels(), input_points=torch.ones(1, 1, 1, 2), input_labels=torch.tensor([[[label]]]))

    @pytest.mark.parametrize(
        ("points", "got"),
        [
            ([[[[1, 2]]]], "be a tensor, got list"),
            (torch.ones(1, 1, 1, 2).numpy(), "be a tensor, got ndarray"),
            (torch.ones(1, 1, 1, 2) * 1j, "be a dense tensor of real numbers, got a complex tensor"),
            (torch.ones(1, 1, 1, 2).to_sparse(), "be a dense tensor of real numbers, got a sparse tensor"),
        ],
        ids=["list", "array", "complex", "sparse"],
    )
    def test_what_is_no_tensor_of_numbers_is_refused(self, model, points, got):
        with pytest.raises(TypeError, match=f"input_points must {got}"):
            model(pixels(), input_points=points)

    def test_images_that_were_encoded_elsewhere_are_refused_as_arrays(self, model):
        maps = [level.detach().numpy() for level in model.get_image_embeddings(pixels())]
        with pytest.raises(TypeError, match="image_embeddings must be a tensor, got ndarray"):
            model(image_embeddings=maps, **points_for(1, 1, 1))


class TestForward:
    @pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1)])
    @torch.no_grad()
    def test_shapes(self, model, multimask, count):
        output = model(pixels(2), **points_for(2, 4, 2), multimask_output=multimask)
        assert output.pred_masks.shape == (2, 4, count, 32, 32)
        assert output.iou_scores.shape == (2, 4, count)
        assert output.object_score_logits.shape == (2, 4, 1)
        assert [tuple(level.shape) for level in output.image_embeddings] == [
            (2, 4, 32, 32),
            (2, 8, 16, 16),
            (2, 32, 8, 8),
        ]

    @torch.no_grad()
    def test_points_without_labels_are_foreground(self, model):
        points = points_for(1, 2, 2)["input_points"]
        labelled = model(pixels(), input_points=points, input_labels=torch.ones(1, 2, 2, dtype=torch.long))
        assert_same_outputs(model(pixels(), input_points=points), labelled)

    @torch.no_grad()
    def test_image_embeddings_take_the_place_of_pixels(self, model):
        first = model(pixels(2), **boxes_for(2, 2))
        embeddings = model.get_image_embeddings(pixels(2))
        for level, other in zip(embeddings, first.image_embeddings, strict=True):
            assert torch.equal(level, other)
        for given_back in (embeddings, tuple(embeddings), first.image_embeddings):
            assert_same_outputs(model(image_embeddings=given_back, **boxes_for(2, 2)), first)

    @torch.no_grad()
    def test_phases_give_what_forward_gives(self, model):
        prompts = {**points_for(2, 3, 2), **boxes_for(2, 3)}
        embeddings = model.get_image_embeddings(pixels(2))
        decoded = model.decode_prompts(embeddings, **prompts)
        selection = torch.zeros(2, 3, 4, dtype=torch.bool)
        selection[:, :, 1:] = True
        output = model(pixels(2), **prompts)
        masks = model.upscale_masks(decoded, embeddings, selection)
        assert_close_in_scale(masks.view(2, 3, 3, 32, 32), output.pred_masks)
        assert_close_in_scale(decoded.iou_scores[:, :, 1:], output.iou_scores)
        selection[1] = False
        assert_close_in_scale(model.upscale_masks(decoded, embeddings, selection), masks[:9])

    @torch.no_grad()
    def test_a_mask_for_each_prompt_equals_each_prompt_with_its_mask(self, model):
        prompts, masks = points_for(1, 3, 2), masks_for(1, 3)["input_masks"]
        together = model(pixels(), **prompts, input_masks=masks)
        for index in range(3):
            one = slice(index, index + 1)
            alone = model(
                pixels(), **{name: value[:, one] for name, value in prompts.items()}, input_masks=masks[:, one]
            )
            for name in OUTPUTS:
                assert_close_in_scale(getattr(together, name)[:, one], getattr(alone, name), SAME)

    @torch.no_grad()
    def test_masks_alone_are_a_prompt_each(self, model):
        masks = masks_for(1, 3)["input_masks"]
        together = model(pixels(), input_masks=masks)
        assert together.pred_masks.shape == (1, 3, 3, 32, 32)
        last = model(pixels(), input_masks=masks[:, 2:])
        assert_close_in_scale(together.pred_masks[:, 2:], last.pred_masks, SAME)

    @torch.no_grad()
    def test_what_the_processor_says_of_the_image_may_be_passed_on(self, model):
        assert_same_outputs(
            model(pixels(), **boxes_for(1, 1), original_sizes=torch.tensor([[600, 800]])),
            model(pixels(), **boxes_for(1, 1)),
        )

    @torch.no_grad()
    def test_prompts_of_half_precision_or_whole_numbers_are_read(self, model):
        points = points_for(1, 2, 2)["input_points"].round()
        expected = model(pixels(), input_points=points)
        for dtype in (torch.float64, torch.float16, torch.int32):
            assert_same_outputs(model(pixels(), input_points=points.to(dtype)), expected)

    @pytest.mark.parametrize("image_size", [(64, 96), (96, 64), (32, 160)])
    @torch.no_grad()
    def test_rectangles(self, image_size):
        model = tiny_image_model(image_size=image_size)
        height, width = image_size
        prompts = {**points_for(2, 2, 1), **boxes_for(2, 2)}
        masks = {"input_masks": uniform(2, 1, height // 4, width // 4)}
        output = model(pixels(2, *image_size), **prompts, **masks)
        assert output.pred_masks.shape == (2, 2, 3, height // 4, width // 4)
        assert output.pred_masks.isfinite().all()
        assert model.get_image_wide_positional_embeddings().shape == (1, 32, height // 16, width // 16)
        shifted = model(pixels(2, *image_size), **{**prompts, "input_boxes": prompts["input_boxes"] + 8}, **masks)
        assert not torch.allclose(shifted.pred_masks, output.pred_masks, atol=1e-2)

    @torch.no_grad()
    def test_other_widths(self):
        model = tiny_image_model(
            vision_config={
                "backbone_config": {
                    "image_size": 64,
                    "hidden_size": 12,
                    "embed_dim_per_stage": [12, 20, 28, 40],
                    "num_attention_heads_per_stage": [1, 2, 2, 4],
                    "blocks_per_stage": [1, 1, 2, 1],
                    "global_attention_blocks": [3],
                    "window_size_per_stage": [8, 4, 6, 2],
                },
                "fpn_hidden_size": 48,
            },
            prompt_encoder_config={"hidden_size": 48, "image_size": 64, "mask_input_channels": 8},
            mask_decoder_config={"hidden_size": 48, "num_attention_heads": 3, "num_multimask_outputs": 2},
        )
        output = model(pixels(1, 64), **points_for(1, 2, 1), **masks_for(1))
        assert output.pred_masks.shape == (1, 2, 2, 16, 16)


class TestErrors:
    @pytest.mark.parametrize(("pixel_batch", "with_embeddings", "given"), [(None, False, "neither"), (1, True, "both")])
    def test_images_must_come_in_one_way(self, model, pixel_batch, with_embeddings, given):
        inputs = {}
        if pixel_batch is not None:
            inputs["pixel_values"] = pixels(pixel_batch)
        if with_embeddings:
            inputs["image_embeddings"] = model.get_image_embeddings(pixels())
        with pytest.raises(ValueError, match=f"exactly one of pixel_values and image_embeddings, got {given}"):
            model(**inputs, **boxes_for(1, 1))

    @pytest.mark.parametrize("shape", [(3, 128, 128), (1, 3, 128, 96), (1, 1, 128, 128), (1, 3, 1024, 1024)])
    def test_images_of_another_shape(self, model, shape):
        with pytest.raises(
            ValueError, match=r"pixel_values must have the configured shape \(batch, 3, 128, 128\), got"
        ):
            model(torch.zeros(shape), **boxes_for(1, 1))

    @pytest.mark.parametrize(
        "change",
        [
            lambda maps: maps[-1],
            lambda maps: maps[-1:],
            lambda maps: maps[::-1],
            lambda maps: [level[:, :2] for level in maps],
            lambda maps: [level.flatten(2) for level in maps],
        ],
        ids=["a single map", "one of three", "the wrong order", "other channels", "flattened"],
    )
    def test_image_embeddings_that_are_none(self, model, change):
        maps = model.get_image_embeddings(pixels())
        with pytest.raises(ValueError, match=r"image_embeddings must be three maps .*\(batch, 4, 32, 32\).*; got \["):
            model(image_embeddings=change(maps), **boxes_for(1, 1))

    @pytest.mark.parametrize(
        ("prompts", "message"),
        [
            ({"input_points": torch.zeros(1, 1, 2)}, "input_points must have the shape"),
            (
                {"input_points": torch.zeros(2, 1, 1, 2)},
                "input_points must hold prompts for each of the 1 images, got 2",
            ),
            ({"input_labels": torch.zeros(1, 1, 1)}, "input_labels must have input_points to go with"),
            ({"input_boxes": torch.zeros(1, 4)}, "input_boxes must have the shape"),
            ({"input_masks": torch.zeros(1, 32, 32)}, "input_masks must have the shape"),
            ({**points_for(1, 2, 1), **boxes_for(1, 3)}, "same number of prompts of each kind"),
            ({"input_points": torch.zeros(1, 0, 1, 2)}, "at least one prompt"),
            (
                {**boxes_for(1, 1), "attention_similarity": torch.zeros(1, 1, 1, 9)},
                "attention_similarity must broadcast",
            ),
            ({**boxes_for(1, 1), "target_embedding": torch.zeros(1, 1, 9)}, "target_embedding must broadcast"),
        ],
    )
    def test_prompts_of_a_wrong_shape(self, model, prompts, message):
        with pytest.raises(ValueError, match=message):
            model(pixels(), **prompts)


class TestOutputs:
    @torch.no_grad()
    def test_attentions_and_hidden_states_on_request(self, model):
        output = model(pixels(2), **points_for(2, 3, 2), output_attentions=True, output_hidden_states=True)
        assert [tuple(state.shape) for state in output.vision_hidden_states] == [
            (2, 32, 32, 8),
            (2, 32, 32, 8),
            (2, 16, 16, 16),
            (2, 8, 8, 32),
            (2, 8, 8, 32),
            (2, 4, 4, 64),
        ]
        assert len(output.vision_attentions) == 5
        assert [tuple(weights.shape) for weights in output.mask_decoder_attentions] == [(2, 3, 2, 9, 64)] * 3
        for weights in (*output.vision_attentions, *output.mask_decoder_attentions):
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert_same_outputs(output, model(pixels(2), **points_for(2, 3, 2)))

    @torch.no_grad()
    def test_attentions_and_hidden_states_are_not_there_unasked(self, model):
        output = model(pixels(), **boxes_for(1, 1))
        assert output.vision_hidden_states is output.vision_attentions is output.mask_decoder_attentions is None

    @torch.no_grad()
    def test_attentions_and_hidden_states_from_the_configuration(self):
        model = tiny_image_model(output_attentions=True, output_hidden_states=True)
        output = model(pixels(), **boxes_for(1, 1))
        assert len(output.vision_hidden_states) == 6
        assert len(output.vision_attentions) == 5
        assert len(output.mask_decoder_attentions) == 3
        quiet = model(pixels(), **boxes_for(1, 1), output_attentions=False, output_hidden_states=False)
        assert quiet.vision_hidden_states is quiet.vision_attentions is quiet.mask_decoder_attentions is None

    @torch.no_grad()
    def test_embedded_images_have_no_vision_states(self, model):
        embeddings = model.get_image_embeddings(pixels())
        output = model(
            image_embeddings=embeddings, **boxes_for(1, 1), output_attentions=True, output_hidden_states=True
        )
        assert output.vision_hidden_states is output.vision_attentions is None
        assert len(output.mask_decoder_attentions) == 3

    @torch.no_grad()
    def test_tuples_on_request(self, model):
        expected = model(pixels(), **boxes_for(1, 1))
        values = model(pixels(), **boxes_for(1, 1), return_dict=False)
        assert type(values) is tuple
        assert torch.equal(values[0], expected.iou_scores)
        assert torch.equal(values[1], expected.pred_masks)
        assert type(model.vision_encoder(pixels(), return_dict=False)) is tuple

    @torch.no_grad()
    def test_tuples_from_the_configuration(self):
        model = tiny_image_model(return_dict=False)
        assert type(model(pixels(), **boxes_for(1, 1))) is tuple
        assert model(pixels(), **boxes_for(1, 1), return_dict=True).pred_masks.shape == (1, 1, 3, 32, 32)

    @torch.no_grad()
    def test_vision_encoder_spares_positions_unless_they_are_asked_for(self, model):
        output = model.vision_encoder(pixels(2))
        for level, position in zip(output.fpn_hidden_states, output.fpn_position_encoding, strict=True):
            assert position.shape == level.shape
        assert model.vision_encoder(pixels(2), output_position_encoding=False).fpn_position_encoding is None


class TestPromptEmbeddings:
    @torch.no_grad()
    def test_dense_has_an_axis_of_prompts_where_masks_differ(self, model):
        tokens, dense = model.get_prompt_embeddings(**points_for(2, 3, 1), **masks_for(2, 3))
        assert tokens.shape == (2, 3, 2, 32)
        assert dense.shape == (2, 3, 32, 8, 8)

    @torch.no_grad()
    def test_nothing_has_no_tokens(self, model):
        tokens, dense = model.get_prompt_embeddings()
        assert tokens is None
        assert dense.shape == (1, 32, 8, 8)

    def test_checks_the_shapes_of_prompts(self, model):
        with pytest.raises(ValueError, match="input_boxes must have the shape"):
            model.get_prompt_embeddings(input_boxes=torch.zeros(2, 4))


def test_a_new_model_encodes_positions_of_prompts_and_image_alike():
    model = Sam2Model(tiny_config())
    shared = model.shared_image_embedding.positional_embedding
    assert shared.std() > 0.5
    assert torch.equal(model.prompt_encoder.shared_embedding.positional_embedding, shared)
    assert not torch.equal(Sam2Model(tiny_config()).shared_image_embedding.positional_embedding, shared)


def test_patches_are_the_input_embeddings(model):
    assert model.get_input_embeddings() is model.vision_encoder.backbone.patch_embed
