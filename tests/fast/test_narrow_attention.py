"""Attention in blocks: against softmax over all scores at once."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale

from sam2_hf.fast import narrow_attention
from sam2_hf.fast.narrow_attention import attend_in_blocks


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def in_blocks(keys: torch.Tensor, values: torch.Tensor, size: int):
    return zip(keys.split(size, dim=1), values.split(size, dim=1), strict=True)


@pytest.mark.parametrize("block", [1, 7, 40, 100])
@pytest.mark.parametrize("at_once", [4, 512])
@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_equals_the_softmax_over_everything(monkeypatch, block: int, at_once: int, scale: float):
    monkeypatch.setattr(narrow_attention, "QUERIES_AT_ONCE", at_once)
    monkeypatch.setattr(narrow_attention, "TOKENS_AT_ONCE", at_once)
    queries, keys, values = drawn(2, 11, 8, scale=scale), drawn(2, 40, 8, seed=1), drawn(2, 40, 3, seed=2)
    expected = (queries @ keys.mT).softmax(dim=-1) @ values
    assert_close_in_scale(attend_in_blocks(queries, in_blocks(keys, values, block)), expected, 1e-5)


@pytest.mark.parametrize("first", [-500.0, -80.0, -20.0, 0.0])
@pytest.mark.parametrize("largest", [20.0, 80.0, 500.0])
def test_scores_that_grow_from_block_to_block_neither_overflow_nor_vanish(first: float, largest: float):
    queries, keys = torch.ones(1, 2, 1), torch.tensor([first, 0.0, largest, largest - 1]).view(1, 4, 1)
    values = torch.arange(4.0).view(1, 4, 1)
    expected = ((queries @ keys.mT).double().softmax(dim=-1) @ values.double()).float()
    torch.testing.assert_close(attend_in_blocks(queries, in_blocks(keys, values, 1)), expected)


def test_scores_far_below_zero_count_like_others():
    queries, keys = torch.ones(1, 2, 1), torch.tensor([-150.0, -149.0, -151.0, -200.0]).view(1, 4, 1)
    values = torch.arange(4.0).view(1, 4, 1)
    expected = ((queries @ keys.mT).double().softmax(dim=-1) @ values.double()).float()
    torch.testing.assert_close(attend_in_blocks(queries, in_blocks(keys, values, 1)), expected)


def test_scores_beyond_all_numbers_are_passed_on():
    queries, keys = torch.full((1, 1, 1), torch.nan), torch.ones(1, 4, 1)
    assert attend_in_blocks(queries, in_blocks(keys, keys, 2)).isnan().all()
