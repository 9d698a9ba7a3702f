"""Attention between tokens and the image: the reassociated form equals the plain one."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import randomize_parameters, tiny_config

from sam2_hf.fast import mask_decoder
from sam2_hf.fast.dispatch import plain_paths
from sam2_hf.fast.mask_decoder import inform_image, read_image, run_transformer, saves_work
from sam2_hf.network.two_way_transformer import ImageAttention, TwoWayTransformer

POSITIONS, WIDTH = 50, 32


@pytest.fixture(scope="module")
def attention() -> ImageAttention:
    config = tiny_config(width=WIDTH).mask_decoder_config
    return randomize_parameters(ImageAttention(config), torch.Generator().manual_seed(1)).eval()


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def read(attention: ImageAttention, tokens: torch.Tensor, placed_image: torch.Tensor, image: torch.Tensor):
    """The plain form of `read_image`."""
    return attention(tokens, placed_image, image)[0]


def inform(attention: ImageAttention, image, placed_image, placed_tokens, tokens, mask=None):
    """The plain form of `inform_image`."""
    return image + attention(placed_image, placed_tokens, tokens, mask)[0]


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("num_tokens", [1, 7])
def test_tokens_read_the_same_from_the_image_in_both_forms(attention, prompts: int, num_tokens: int):
    tokens, image = draw(2, prompts, num_tokens, WIDTH), draw(2, prompts, POSITIONS, WIDTH, seed=1)
    positions = draw(1, 1, POSITIONS, WIDTH, seed=2)
    reassociated = read_image(attention, tokens, image + positions, image)
    assert_close_in_scale(reassociated, read(attention, tokens, image + positions, image), 1e-5)


@pytest.mark.parametrize("image_prompts", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_the_image_is_informed_the_same_in_both_forms(attention, image_prompts: int, masked: bool):
    tokens, values = draw(2, 3, 5, WIDTH), draw(2, 3, 5, WIDTH, seed=1)
    image, positions = draw(2, image_prompts, POSITIONS, WIDTH, seed=2), draw(1, 1, POSITIONS, WIDTH, seed=3)
    mask = None
    if masked:
        mask = torch.ones(2, 3, 1, 5, dtype=torch.bool)
        mask[1, 2, 0, 3:] = False
    reassociated = inform_image(attention, image, image + positions, tokens, values, mask)
    plain = inform(attention, image, image + positions, tokens, values, mask)
    assert reassociated.shape == (2, 3, POSITIONS, WIDTH)
    assert_close_in_scale(reassociated, plain, 1e-5)


@pytest.fixture
def transformer() -> TwoWayTransformer:
    config = tiny_config(width=WIDTH).mask_decoder_config
    return randomize_parameters(TwoWayTransformer(config), torch.Generator().manual_seed(1)).eval()


def spy_on_projections(attention: ImageAttention, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects how many positions the key projection is applied to as a module: none in the reassociated form."""
    seen: list[int] = []
    forward = torch.nn.Linear.forward

    def watch(layer: torch.nn.Linear, features: torch.Tensor) -> torch.Tensor:
        if layer is attention.k_proj:
            seen.append(features.shape[-2])
        return forward(layer, features)

    monkeypatch.setattr(torch.nn.Linear, "forward", watch)
    return seen


def test_the_reassociated_form_is_used_only_while_it_saves_work(transformer, monkeypatch):
    attention = transformer.final_attn_token_to_image
    seen = spy_on_projections(attention, monkeypatch)
    image, positions = draw(1, 2, POSITIONS, WIDTH), draw(1, 1, POSITIONS, WIDTH)
    fewest_that_cost_more = attention.q_proj.out_features // attention.num_heads + 1
    transformer(draw(1, 2, fewest_that_cost_more - 1, WIDTH), image, positions)
    assert POSITIONS not in seen
    transformer(draw(1, 2, fewest_that_cost_more, WIDTH), image, positions)
    assert POSITIONS in seen
    assert not saves_work(attention, draw(1, 2, fewest_that_cost_more, WIDTH))


@pytest.mark.parametrize("image_prompts", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_the_whole_transformer_gives_the_same_in_both_forms(transformer, image_prompts: int, masked: bool):
    # In double precision, where another order of sums makes no difference that could hide another.
    tokens, image = draw(2, 3, 5, WIDTH).double(), draw(2, image_prompts, POSITIONS, WIDTH, seed=2).double()
    positions, mask = draw(1, 1, POSITIONS, WIDTH, seed=3).double(), None
    if masked:
        mask = torch.ones(2, 3, 1, 5, dtype=torch.bool)
        mask[1, 2, 0, 3:] = False
    transformer.double()
    fast = run_transformer(transformer, tokens, image, positions, mask)
    with plain_paths():
        plain = transformer(tokens, image, positions, mask)
    for ours, expected in zip(fast[:2], plain[:2], strict=True):
        assert_close_in_scale(ours, expected, 1e-12)


def test_weights_come_from_the_plain_form(transformer):
    tokens, image, positions = draw(1, 2, 4, WIDTH), draw(1, 2, POSITIONS, WIDTH), draw(1, 1, POSITIONS, WIDTH)
    attentions = transformer(tokens, image, positions, need_weights=True)[2]
    heads = transformer.final_attn_token_to_image.num_heads
    assert len(attentions) == 3
    for weights in attentions:
        assert weights.shape == (1, 2, heads, 4, POSITIONS)
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, heads, 4))


@pytest.mark.parametrize("form", ["read", "inform"])
def test_attention_so_sharp_that_weights_vanish_multiplies_no_subnormal_numbers(attention, monkeypatch, form: str):
    """They would make no difference, but for the time that they take."""
    seen: list[torch.Tensor] = []
    weigh = mask_decoder.weigh

    def watch(scores: torch.Tensor, dim: int) -> torch.Tensor:
        seen.append(weigh(scores, dim))
        return seen[-1]

    monkeypatch.setattr(mask_decoder, "weigh", watch)
    tokens, image = draw(1, 2, 4, WIDTH) * 40, draw(1, 2, POSITIONS, WIDTH, seed=1)
    arguments = (tokens, image, image) if form == "read" else (image, image, tokens, tokens)
    fast = {"read": read_image, "inform": inform_image}[form](attention, *arguments)
    plain = {"read": read, "inform": inform}[form](attention, *arguments)
    (weights,) = seen
    smallest = torch.finfo(torch.float32).smallest_normal
    assert (weights == 0).any() and not ((weights > 0) & (weights < smallest)).any()
    assert_close_in_scale(fast, plain, 1e-5)


def test_gradients_agree_between_the_forms(attention):
    def gradients(read, inform) -> list[torch.Tensor]:
        tokens, image = draw(1, 2, 4, WIDTH).requires_grad_(), draw(1, 2, POSITIONS, WIDTH, seed=1).requires_grad_()
        placed_image = image + draw(1, 1, POSITIONS, WIDTH)
        seen = read(attention, tokens, placed_image, image)
        informed = inform(attention, image, placed_image, tokens, tokens)
        loss = seen.square().mean() + informed.square().mean()
        return list(torch.autograd.grad(loss, [tokens, image, *attention.parameters()], allow_unused=True))

    fast, plain = gradients(read_image, inform_image), gradients(read, inform)
    for ours, expected in zip(fast, plain, strict=True):
        if expected is None or expected.abs().max() < 1e-6:  # the keys' bias moves nothing but rounding
            continue
        assert_close_in_scale(ours, expected, 1e-4)
