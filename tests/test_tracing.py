"""The models recorded for use elsewhere: sizes stay variables, and what is recorded is the plain network."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from prompt_tensors import pixels
from tiny import tiny_image_model
from torch import Tensor, nn
from torch.export import Dim

from sam2_hf.fast.dispatch import plain_paths

SAME = 1e-5  # of the largest value, in float32: the same operations


class Encoder(nn.Module):
    """Images (B, 3, H, W) to the three maps."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.get_image_embeddings(pixel_values))


class Decoder(nn.Module):
    """Maps and points (1, P, N, 2) with labels (1, P, N) to logits, IoU scores and object scores."""

    def __init__(self, model: nn.Module, multimask: bool):
        super().__init__()
        self.model, self.multimask = model, multimask

    def forward(self, finest: Tensor, middle: Tensor, coarsest: Tensor, points: Tensor, labels: Tensor):
        output = self.model(
            image_embeddings=[finest, middle, coarsest],
            input_points=points,
            input_labels=labels,
            multimask_output=self.multimask,
        )
        return output.pred_masks, output.iou_scores, output.object_score_logits


@pytest.fixture(scope="module")
def model():
    return tiny_image_model()


def prompts(count: int, points: int) -> tuple[Tensor, Tensor]:
    """Points of which the last of each prompt but the first is padding."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.ones(1, count, points, dtype=torch.long)
    if points > 1:
        labels[:, 1:, -1] = -10
    return torch.rand(1, count, points, 2, generator=generator) * 128, labels


def assert_same(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        assert_close_in_scale(one, other, SAME)


@torch.no_grad()
def test_the_image_encoder_is_exported_for_any_number_of_images(model):
    encoder = Encoder(model)
    program = torch.export.export(encoder, (pixels(2),), dynamic_shapes={"pixel_values": {0: Dim("images")}})
    for count in (1, 3):
        with plain_paths():
            assert_same(program.module()(pixels(count)), encoder(pixels(count)))


@pytest.mark.parametrize("multimask", [True, False])
@torch.no_grad()
def test_the_decoder_is_exported_for_any_number_of_prompts_and_points(model, multimask):
    decoder, maps = Decoder(model, multimask), model.get_image_embeddings(pixels())
    count, points = Dim("prompts"), Dim("points")
    shapes = {
        **dict.fromkeys(("finest", "middle", "coarsest")),
        "points": {1: count, 2: points},
        "labels": {1: count, 2: points},
    }
    program = torch.export.export(decoder, (*maps, *prompts(3, 2)), dynamic_shapes=shapes)
    for size in ((2, 3), (7, 2), (4, 5)):
        with plain_paths():
            assert_same(program.module()(*maps, *prompts(*size)), decoder(*maps, *prompts(*size)))


@torch.no_grad()
def test_the_parts_are_exported_by_themselves(model):
    """The prompt encoder alone, and with it whatever lies below the models' own checks."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.prompt_encoder

        def forward(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            embedded = self.encoder.encode(points, labels)
            return embedded.tokens, embedded.dense

    count = Dim("prompts")
    program = torch.export.export(Tokens(), prompts(3, 2), dynamic_shapes={"points": {1: count}, "labels": {1: count}})
    assert_same(program.module()(*prompts(6, 2)), Tokens()(*prompts(6, 2)))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@torch.no_grad()
def test_traced_by_jit(model):
    encoder, decoder = Encoder(model), Decoder(model, multimask=True)
    maps = model.get_image_embeddings(pixels())
    traced_encoder = torch.jit.trace(encoder, (pixels(),), check_trace=False)
    traced_decoder = torch.jit.trace(decoder, (*maps, *prompts(3, 2)), check_trace=False)
    with plain_paths():
        assert_same(traced_encoder(pixels(seed=1)), encoder(pixels(seed=1)))
        assert_same(traced_decoder(*maps, *prompts(5, 2)), decoder(*maps, *prompts(5, 2)))


@torch.no_grad()
def test_what_is_recorded_is_the_plain_network(model):
    """No form that is made for one device, whatever device is at hand while recording."""
    maps, decoder = model.get_image_embeddings(pixels()), Decoder(model, multimask=True)
    program = torch.export.export(decoder, (*maps, *prompts(3, 2)))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert any("conv_transpose2d" in name for name in called)
    assert not any("baddbmm" in name or "diag_embed" in name for name in called)
