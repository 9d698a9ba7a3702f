"""Masks in little space: the same at any size, exact along their edge, and small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_hf.masks.postprocessing import MaskRestorer
from sam2_hf.tracking.compact_mask import pack_logits, unpack_logits


def smooth_logits(seed: int, size: int = 32) -> np.ndarray:
    """(size, size) float32 of a few blobs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 5, 5, generator=generator) * 8
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0, 0].numpy()


def disc_logits(size: int = 256, radius: float = 60.0) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (radius - np.hypot(rows - size / 2, columns - size / 2)).astype(np.float32) / 4


class TestSameMask:
    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        height=st.integers(3, 140),
        width=st.integers(3, 140),
        is_noise=st.booleans(),
    )
    def test_at_any_size(self, seed: int, height: int, width: int, is_noise: bool) -> None:
        logits = smooth_logits(seed)
        if is_noise:
            logits = np.random.default_rng(seed).normal(size=(9, 13)).astype(np.float32)
        again = unpack_logits(pack_logits(logits))
        masks = [
            MaskRestorer()(torch.from_numpy(each)[None, None, None], [[height, width]])[0] for each in (logits, again)
        ]
        assert masks[0].equal(masks[1])

    def test_values_beside_the_edge_are_exact_and_others_the_mean_of_their_sign(self) -> None:
        logits = np.array([[-4, -4, -4, -3, 1, 7, 5, 5]] * 6, np.float32)
        expected = np.array([[-4, -4, -4, -3, 1, 17 / 3, 17 / 3, 17 / 3]] * 6, np.float32)
        np.testing.assert_array_equal(unpack_logits(pack_logits(logits)), expected)

    @pytest.mark.parametrize("value", [-1024.0, 0.0, 12.5])
    def test_a_mask_without_an_edge_comes_back(self, value: float) -> None:
        logits = np.full((16, 24), value, np.float32)
        np.testing.assert_array_equal(unpack_logits(pack_logits(logits)), logits)


def test_a_mask_takes_a_fraction_of_its_bits() -> None:
    logits = disc_logits()
    assert len(pack_logits(logits)) < 256 * 256 / 8 < logits.nbytes / 30


def test_damage_is_named() -> None:
    packed = pack_logits(disc_logits(32, 9))
    for damaged in (b"", packed[:10], packed[:-4], packed + b"1234", packed[:20] + bytes(5) + packed[25:]):
        with pytest.raises(ValueError, match="a packed mask is damaged"):
            unpack_logits(damaged)
