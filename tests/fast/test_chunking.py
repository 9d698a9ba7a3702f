"""Chunks: as many as fit, and the same result as the whole."""

from __future__ import annotations

import pytest
import torch

from sam2_hf.fast import chunking
from sam2_hf.fast.chunking import how_many_fit, in_chunks
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
def test_rows_in_chunks_become_what_they_become_together(three_rows_at_once, shape: tuple[int, ...]):
    rows, sizes = torch.randn(shape), []

    def double(chunk: torch.Tensor) -> torch.Tensor:
        sizes.append(chunk.shape[:-1].numel())
        return torch.cat((chunk, chunk), dim=-1)

    with torch.no_grad():
        assert torch.equal(in_chunks(double, rows, width=16), torch.cat((rows, rows), dim=-1))
    assert max(sizes) <= 3 and sum(sizes) == rows.shape[:-1].numel()


def test_the_whole_is_taken_at_once_for_gradients_and_in_the_plain_form(three_rows_at_once):
    rows, sizes = torch.randn(6, 4), []

    def note(chunk: torch.Tensor) -> torch.Tensor:
        sizes.append(len(chunk))
        return chunk

    in_chunks(note, rows, width=16)
    with torch.no_grad(), plain_paths():
        in_chunks(note, rows, width=16)
    assert sizes == [6, 6]
