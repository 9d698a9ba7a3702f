"""Portions: as many as fit, and the same result as the whole."""

from __future__ import annotations

import pytest
import torch

from sam2_hf.fast import chunking
from sam2_hf.fast.chunking import how_many_fit, in_portions
from sam2_hf.fast.dispatch import plain_paths


@pytest.fixture
def three_rows_at_once(monkeypatch):
    """Of a width of 16 channels in float32."""
    monkeypatch.setattr(chunking, "BYTES_IN_CACHE", 3 * 16 * 4)
    monkeypatch.setattr(chunking, "LEAST_ROWS", 1)


def test_at_least_one_item_fits():
    assert how_many_fit(2**60, torch.device("cpu")) == 1
    assert how_many_fit(2**20, torch.device("cpu")) == 16


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (7, 4), (1, 4), (0, 4)])
def test_rows_in_portions_become_what_they_become_together(three_rows_at_once, shape: tuple[int, ...]):
    rows, sizes = torch.randn(shape), []

    def double(portion: torch.Tensor) -> torch.Tensor:
        sizes.append(portion.shape[:-1].numel())
        return torch.cat((portion, portion), dim=-1)

    with torch.no_grad():
        assert torch.equal(in_portions(double, rows, width=16), torch.cat((rows, rows), dim=-1))
    assert max(sizes) <= 3 and sum(sizes) == rows.shape[:-1].numel()


def test_the_whole_is_taken_at_once_for_gradients_and_in_the_plain_form(three_rows_at_once):
    rows, sizes = torch.randn(6, 4), []

    def note(portion: torch.Tensor) -> torch.Tensor:
        sizes.append(len(portion))
        return portion

    in_portions(note, rows, width=16)
    with torch.no_grad(), plain_paths():
        in_portions(note, rows, width=16)
    assert sizes == [6, 6]
