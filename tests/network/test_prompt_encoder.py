"""Points, boxes and masks become embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from closeness import assert_close_in_scale
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import randomize_parameters, tiny_config
from torch.nn import functional as F
from transformers.models.sam2.modeling_sam2 import Sam2PromptEncoder

from sam2_hf.network.prompt_encoder import (
    MaskEmbedding,
    PositionalEmbedding,
    PromptEncoder,
)
from sam2_hf.prompt_values import PAD_VALUE

SIZE = 128  # pixels of the tiny model's input
RECTANGLE = (64, 96)


def encoder_of(image_size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    encoder = randomize_parameters(PromptEncoder(tiny_config(image_size=image_size).prompt_encoder_config), generator)
    encoder.shared_embedding.positional_embedding.normal_(generator=generator)
    return encoder.eval()


def transformers_reference(encoder):
    theirs = Sam2PromptEncoder(tiny_config().prompt_encoder_config).eval()
    theirs.load_state_dict(encoder.state_dict())
    return theirs


def points_and_labels(batch=2, prompts=3, count=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, prompts, count, 2, generator=generator) * SIZE
    return points, torch.randint(0, 2, (batch, prompts, count), generator=generator)


def boxes_for(batch=2, prompts=3, seed=2):
    corners = torch.rand(batch, prompts, 2, 2, generator=torch.Generator().manual_seed(seed)) * SIZE
    return corners.sort(dim=-2).values.flatten(-2)


class TestAgainstTransformers:
    @pytest.mark.parametrize(("with_points", "with_boxes"), [(True, False), (False, True), (True, True)])
    @pytest.mark.parametrize("with_mask", [False, True])
    @torch.no_grad()
    def test_embeddings_are_equal(self, with_points, with_boxes, with_mask):
        encoder = encoder_of()
        points, labels = points_and_labels() if with_points else (None, None)
        boxes = boxes_for() if with_boxes else None
        masks = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(3)) if with_mask else None
        ours = encoder.encode(points, labels, boxes, masks)
        tokens, dense = transformers_reference(encoder)(points, labels, boxes, masks)
        assert_close_in_scale(ours.tokens, tokens)
        assert_close_in_scale(ours.dense.squeeze(1).expand_as(dense), dense)
        assert ours.is_token is None
        assert ours.is_object is None


class TestTokens:
    @torch.no_grad()
    def test_a_box_is_its_two_corners_as_points_with_labels_2_and_3(self):
        encoder = encoder_of()
        boxes = boxes_for()
        labels = torch.tensor([2, 3]).expand(2, 3, 2)
        assert torch.equal(
            encoder.encode(boxes=boxes).tokens, encoder.encode(boxes.unflatten(-1, (2, 2)), labels).tokens
        )

    @torch.no_grad()
    def test_points_come_before_corners_and_no_point_closes(self):
        encoder = encoder_of()
        points, labels = points_and_labels()
        boxes = boxes_for()
        tokens = encoder.encode(points, labels, boxes).tokens
        assert torch.equal(tokens[:, :, :2], encoder.encode(points, labels).tokens[:, :, :2])
        assert torch.equal(tokens[:, :, 2:], encoder.encode(boxes=boxes).tokens)
        closing = encoder.not_a_point_embed.weight[0].expand(2, 3, -1)
        assert torch.equal(tokens[:, :, -1], closing)

    @torch.no_grad()
    def test_no_point_has_no_place(self):
        encoder = encoder_of()
        points, _ = points_and_labels()
        labels = torch.full((2, 3, 2), -1)
        assert torch.equal(encoder.encode(points, labels).tokens, encoder.encode(points + 9, labels).tokens)

    @pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32, torch.bool])
    @torch.no_grad()
    def test_labels_may_be_of_any_type(self, dtype):
        encoder = encoder_of()
        points, labels = points_and_labels()
        assert torch.equal(encoder.encode(points, labels.to(dtype)).tokens, encoder.encode(points, labels).tokens)

    @torch.no_grad()
    def test_whole_numbers_are_coordinates_too(self):
        encoder = encoder_of()
        points, labels = points_and_labels()
        boxes = boxes_for().long()
        expected = encoder.encode(points.long().float(), labels, boxes.float()).tokens
        assert torch.equal(encoder.encode(points.long(), labels, boxes).tokens, expected)


class TestPadding:
    @torch.no_grad()
    def test_points_and_boxes_are_told_apart_from_their_padding(self):
        encoder = encoder_of()
        points, labels = points_and_labels(batch=1)
        boxes = boxes_for(batch=1)
        labels[0, 0, 1] = labels[0, 1] = labels[0, 2] = PAD_VALUE
        boxes[0, 0] = boxes[0, 2] = PAD_VALUE
        prompts = encoder.encode(points, labels, boxes)
        assert prompts.is_token[0].tolist() == [
            [True, False, False, False, True],
            [False, False, True, True, True],
            [False, False, False, False, True],
        ]
        assert prompts.is_object[0].tolist() == [True, True, False]
        assert (prompts.tokens[0][~prompts.is_token[0]] == 0).all()

    @torch.no_grad()
    def test_a_corner_at_the_padding_value_is_no_padding(self):
        boxes = torch.tensor([[[PAD_VALUE, PAD_VALUE, 50.0, 60.0]]])
        assert encoder_of().encode(boxes=boxes).is_token is None

    @torch.no_grad()
    def test_a_mask_makes_an_object_of_padding(self):
        points, labels = points_and_labels()
        prompts = encoder_of().encode(points, torch.full_like(labels, PAD_VALUE), masks=torch.zeros(2, 1, 32, 32))
        assert prompts.is_object is None


class TestMasks:
    @torch.no_grad()
    def test_no_mask_is_one_embedding_for_every_position(self):
        encoder = encoder_of()
        dense = encoder.encode(*points_and_labels()).dense
        assert dense.shape == (1, 1, 32, 1, 1)
        assert torch.equal(dense.flatten(), encoder.no_mask_embed.weight[0])

    @torch.no_grad()
    def test_each_prompt_may_have_a_mask_of_its_own(self):
        encoder = encoder_of()
        prompts = points_and_labels()
        masks = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
        dense = encoder.encode(*prompts, masks=masks).dense
        assert dense.shape == (2, 3, 32, 8, 8)
        for prompt in range(3):
            alone = encoder.encode(*prompts, masks=masks[:, prompt : prompt + 1]).dense
            assert_close_in_scale(dense[:, prompt : prompt + 1], alone)

    @pytest.mark.parametrize("size", [(128, 128), (100, 30)])
    @torch.no_grad()
    def test_another_size_is_resampled_with_antialias(self, size):
        encoder = encoder_of()
        prompts = points_and_labels()
        masks = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(3))
        resized = F.interpolate(masks, size=(32, 32), mode="bilinear", antialias=True)
        assert torch.equal(encoder.encode(*prompts, masks=masks).dense, encoder.encode(*prompts, masks=resized).dense)

    @torch.no_grad()
    def test_rectangular_images_have_rectangular_masks(self):
        encoder = encoder_of(RECTANGLE)
        assert encoder.mask_input_size == (16, 24)
        dense = encoder.encode(*points_and_labels(), masks=torch.zeros(2, 1, 16, 24)).dense
        assert dense.shape == (2, 1, 32, 4, 6)

    @torch.no_grad()
    def test_embedding_shrinks_a_mask_fourfold(self):
        assert MaskEmbedding(tiny_config().prompt_encoder_config)(torch.zeros(3, 1, 8, 12)).shape == (3, 32, 2, 3)


class TestPositions:
    def embedding(self):
        return encoder_of().shared_embedding

    def test_are_sines_and_cosines_of_random_projections(self):
        embedding = self.embedding()
        coordinates = torch.tensor([0.25, 0.75])
        angles = [2 * math.pi * (-0.5 * x + 0.5 * y) for x, y in embedding.positional_embedding.T.tolist()]
        expected = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
        torch.testing.assert_close(embedding(coordinates), expected, atol=1e-5, rtol=0)

    def test_grid_encodes_the_centres_of_its_cells(self):
        embedding = self.embedding()
        grid = embedding.grid((2, 3))
        assert grid.shape == (1, 32, 2, 3)
        torch.testing.assert_close(grid[0, :, 1, 2], embedding(torch.tensor([2.5 / 3, 1.5 / 2])))

    def test_a_point_is_placed_at_the_centre_of_its_pixel(self):
        """The pixel (x, y) of a rectangular image lies at ((x + 0.5) / width, (y + 0.5) / height)."""
        encoder = encoder_of(RECTANGLE)
        tokens = encoder.encode(torch.tensor([[[[30.0, 10.0]]]]), torch.tensor([[[1]]])).tokens
        position = encoder.shared_embedding(torch.tensor([30.5 / 96, 10.5 / 64]))
        torch.testing.assert_close(tokens[0, 0, 0], position + encoder.point_embed.weight[1])

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_rounds_the_encoding_and_not_the_place(self, dtype):
        embedding = self.embedding()
        with torch.no_grad():
            embedding.positional_embedding.copy_(embedding.positional_embedding.to(dtype))
        coordinates = torch.rand(50, 2, generator=torch.Generator().manual_seed(4))
        expected = embedding(coordinates).to(dtype)
        assert torch.equal(embedding.to(dtype)(coordinates), expected)

    def test_autocast_keeps_positions_apart(self):
        embedding = self.embedding()
        coordinates = torch.rand(50, 2, generator=torch.Generator().manual_seed(4))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = embedding(coordinates)
        assert torch.equal(cast, embedding(coordinates))

    def test_scale_widens_the_random_matrix(self):
        config = tiny_config().prompt_encoder_config
        config.scale = 100
        torch.manual_seed(0)
        assert PositionalEmbedding(config).positional_embedding.std() > 50


@settings(deadline=None)
@given(st.data())
def test_padding_never_changes_the_tokens_of_what_is_there(data):
    """Whatever the ragged shapes: the tokens that count are those of the unpadded prompt, in the same order."""
    encoder = encoder_of()
    prompts = data.draw(st.integers(1, 3))
    counts = data.draw(st.lists(st.integers(0, 3), min_size=prompts, max_size=prompts))
    boxed = data.draw(st.lists(st.booleans(), min_size=prompts, max_size=prompts))
    points, labels = points_and_labels(batch=1, prompts=prompts, count=max(counts, default=0))
    boxes = boxes_for(batch=1, prompts=prompts)
    for prompt, (count, has_box) in enumerate(zip(counts, boxed, strict=True)):
        labels[0, prompt, count:] = PAD_VALUE
        if not has_box:
            boxes[0, prompt] = PAD_VALUE
    with torch.no_grad():
        padded = encoder.encode(points, labels, boxes)
        is_token = (
            torch.ones(padded.tokens.shape[:-1], dtype=torch.bool) if padded.is_token is None else padded.is_token
        )
        for prompt, (count, has_box) in enumerate(zip(counts, boxed, strict=True)):
            one = slice(prompt, prompt + 1)
            alone = encoder.encode(points[:, one, :count], labels[:, one, :count], boxes[:, one] if has_box else None)
            torch.testing.assert_close(padded.tokens[0, prompt][is_token[0, prompt]], alone.tokens[0, 0])
            is_object = padded.is_object is None or bool(padded.is_object[0, prompt])
            assert is_object == (count > 0 or has_box)
