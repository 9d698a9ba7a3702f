"""Attention between tokens and the image: the reassociated form equals the plain one."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import randomize_parameters, tiny_config

from sam2_hf.fast.dispatch import plain_paths
from sam2_hf.network import image_attention
from sam2_hf.network.image_attention import ImageAttention

PLACES, WIDTH = 50, 32


@pytest.fixture(scope="module")
def attention() -> ImageAttention:
    config = tiny_config(width=WIDTH).mask_decoder_config
    return randomize_parameters(ImageAttention(config), torch.Generator().manual_seed(1)).eval()


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def spy_on_projections(attention: ImageAttention, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects how many places the key projection is applied to as a module: none in the reassociated form."""
    seen: list[int] = []
    hook = attention.k_proj.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[-2]))
    monkeypatch.setattr(attention, "_test_hook", hook, raising=False)
    return seen


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("num_tokens", [1, 7])
def test_tokens_read_the_same_from_the_image_in_both_forms(attention, prompts: int, num_tokens: int):
    tokens, image = draw(2, prompts, num_tokens, WIDTH), draw(2, prompts, PLACES, WIDTH, seed=1)
    positions = draw(1, 1, PLACES, WIDTH, seed=2)
    reassociated, weights = attention.read(tokens, image + positions, image)
    with plain_paths():
        plain, _ = attention.read(tokens, image + positions, image)
    assert weights is None
    assert_close_in_scale(reassociated, plain, 1e-5)


@pytest.mark.parametrize("image_prompts", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_the_image_is_informed_the_same_in_both_forms(attention, image_prompts: int, masked: bool):
    tokens, values = draw(2, 3, 5, WIDTH), draw(2, 3, 5, WIDTH, seed=1)
    image, positions = draw(2, image_prompts, PLACES, WIDTH, seed=2), draw(1, 1, PLACES, WIDTH, seed=3)
    mask = None
    if masked:
        mask = torch.ones(2, 3, 1, 5, dtype=torch.bool)
        mask[1, 2, 0, 3:] = False
    reassociated = attention.inform(image, image + positions, tokens, values, mask)
    with plain_paths():
        plain = attention.inform(image, image + positions, tokens, values, mask)
    assert reassociated.shape == (2, 3, PLACES, WIDTH)
    assert_close_in_scale(reassociated, plain, 1e-5)


def test_the_reassociated_form_is_used_only_while_it_saves_work(attention, monkeypatch):
    seen = spy_on_projections(attention, monkeypatch)
    image, positions = draw(1, 2, PLACES, WIDTH), draw(1, 1, PLACES, WIDTH)
    fewest_that_cost_more = attention.q_proj.out_features // attention.num_heads + 1
    attention.read(draw(1, 2, fewest_that_cost_more - 1, WIDTH), image + positions, image)
    assert PLACES not in seen
    attention.read(draw(1, 2, fewest_that_cost_more, WIDTH), image + positions, image)
    assert PLACES in seen


def test_weights_come_from_the_plain_form(attention):
    tokens, image, positions = draw(1, 2, 4, WIDTH), draw(1, 2, PLACES, WIDTH), draw(1, 1, PLACES, WIDTH)
    _, weights = attention.read(tokens, image + positions, image, need_weights=True)
    assert weights.shape == (1, 2, attention.num_heads, 4, PLACES)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, attention.num_heads, 4))


@pytest.mark.parametrize("form", ["read", "inform"])
def test_attention_so_sharp_that_weights_vanish_multiplies_no_subnormal_numbers(attention, monkeypatch, form: str):
    """They would make no difference, but for the time that they take."""
    seen: list[torch.Tensor] = []
    weigh = image_attention._weigh

    def watch(scores: torch.Tensor, dim: int) -> torch.Tensor:
        seen.append(weigh(scores, dim))
        return seen[-1]

    monkeypatch.setattr(image_attention, "_weigh", watch)
    tokens, image = draw(1, 2, 4, WIDTH) * 40, draw(1, 2, PLACES, WIDTH, seed=1)
    arguments = (tokens, image, image) if form == "read" else (image, image, tokens, tokens)
    fast = getattr(attention, form)(*arguments)
    with plain_paths():
        plain = getattr(attention, form)(*arguments)
    fast, plain = (result[0] if form == "read" else result for result in (fast, plain))
    (weights,) = seen
    smallest = torch.finfo(torch.float32).smallest_normal
    assert (weights == 0).any() and not ((weights > 0) & (weights < smallest)).any()
    assert_close_in_scale(fast, plain, 1e-5)


def test_gradients_agree_between_the_forms(attention):
    def gradients() -> list[torch.Tensor]:
        tokens, image = draw(1, 2, 4, WIDTH).requires_grad_(), draw(1, 2, PLACES, WIDTH, seed=1).requires_grad_()
        placed_image = image + draw(1, 1, PLACES, WIDTH)
        read, _ = attention.read(tokens, placed_image, image)
        informed = attention.inform(image, placed_image, tokens, tokens)
        loss = read.square().mean() + informed.square().mean()
        return list(torch.autograd.grad(loss, [tokens, image, *attention.parameters()], allow_unused=True))

    fast = gradients()
    with plain_paths():
        plain = gradients()
    for ours, expected in zip(fast, plain, strict=True):
        if expected is None or expected.abs().max() < 1e-6:  # the keys' bias moves nothing but rounding
            continue
        assert_close_in_scale(ours, expected, 1e-4)
