"""Attention in blocks: against softmax over all scores at once."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale

from sam2_hf import narrow_attention
from sam2_hf.narrow_attention import attend_in_blocks


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("block", [1, 7, 40, 100])
@pytest.mark.parametrize("queries_at_once", [4, 512])
@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_equals_the_softmax_over_everything(monkeypatch, block: int, queries_at_once: int, scale: float):
    monkeypatch.setattr(narrow_attention, "QUERIES_AT_ONCE", queries_at_once)
    queries, keys, values = drawn(11, 8, scale=scale), drawn(40, 8, seed=1), drawn(40, 3, seed=2)
    blocks = zip(keys.split(block), values.split(block), strict=True)
    expected = (queries @ keys.T).softmax(dim=-1) @ values
    assert_close_in_scale(attend_in_blocks(queries, blocks), expected, 1e-5)


def test_scores_that_grow_from_block_to_block_neither_overflow_nor_vanish():
    queries, keys = torch.ones(2, 1), torch.tensor([[-500.0], [0.0], [500.0], [499.0]])
    values = torch.arange(4.0).unsqueeze(1)
    expected = torch.tensor([2 + 1 / (1 + torch.e)]).expand(2, 1)
    torch.testing.assert_close(attend_in_blocks(queries, zip(keys.split(1), values.split(1), strict=True)), expected)
