"""Thresholding without enlarging, against enlarging and then thresholding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sam2_hf.mask_generation import upsampled_masks
from sam2_hf.mask_generation.upsampled_masks import areas, cut, encode, find_switches, stability, upsample
from sam2_hf.masks.rle import rle_to_mask
from sam2_hf.masks.stability import stability_score


@pytest.fixture(autouse=True)
def never_the_plain_way(monkeypatch):
    monkeypatch.setattr(upsampled_masks, "_RAGGED", 10.0)


def logits_like_a_models(count, height, width, seed, smoothness=4):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, count, max(height // smoothness, 2), max(width // smoothness, 2), generator=generator)
    return 6 * F.interpolate(coarse, (height, width), mode="bicubic")[0]


def plain(logits, size):
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


def decoded(run_lengths, size):
    return torch.stack([rle_to_mask({"size": size, "counts": counts}) for counts in run_lengths])


def assert_equal_but_for_ties(masks, logits, threshold):
    """Differences only where the plain way's own rounding (float32 coordinates) decides."""
    differs = masks != (logits > threshold)
    assert ((logits - threshold).abs()[differs] < 1e-4).all()
    assert differs.float().mean() < 1e-4


SIZES = [(120, 180), (33, 47), (32, 48), (7, 200), (200, 7), (1, 50), (50, 1), (5, 6), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("smoothness", [1, 4])
def test_masks_equal_those_of_upsampled_logits(size, smoothness):
    logits = logits_like_a_models(5, 32, 48, seed=0, smoothness=smoothness)
    for threshold in (0.0, 1.0, -1.5):
        masks = decoded(encode(upsample(logits, size), threshold, size, (0, 0)), size)
        assert_equal_but_for_ties(masks, plain(logits, size), threshold)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.integers(-2, 2), min_size=12, max_size=12),
    size=st.tuples(st.integers(1, 12), st.integers(1, 9)),
    threshold=st.integers(-2, 2),
)
def test_logits_on_the_threshold_count_as_background(values, size, threshold):
    """Whole numbers meet the threshold exactly, in samples and between them: the reference is in exact fractions."""
    logits = torch.tensor(values, dtype=torch.float32).view(1, 4, 3)
    masks = decoded(encode(upsample(logits, size), threshold, size, (0, 0)), size)
    reference = plain(logits.double(), size)
    differs = masks != (reference > threshold)
    assert ((reference - threshold).abs()[differs] < 1e-6).all()
    if size == (4, 3):
        assert torch.equal(masks, logits > threshold)


@pytest.mark.parametrize("size", [(8, 6), (16, 12), (4, 3), (2, 3)])
def test_ties_at_exact_coordinates_are_background(size):
    """At ratios that are powers of two all arithmetic is exact, so there is nothing to forgive."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randint(-2, 3, (200, 4, 3), generator=generator).float()
    for threshold in (-1.0, 0.0, 0.5):
        masks = decoded(encode(upsample(logits, size), threshold, size, (0, 0)), size)
        assert torch.equal(masks, plain(logits, size) > threshold)


@pytest.mark.parametrize("size", SIZES)
def test_areas_and_stability_equal_those_of_upsampled_logits(size):
    logits = logits_like_a_models(6, 32, 48, seed=1)
    upsampled = upsample(logits, size)
    pixels = (plain(logits, size) > 0.3).sum((1, 2))
    assert (areas(upsampled, 0.3) - pixels).abs().max() <= 1
    expected = stability_score(plain(logits, size), 0.3, 1.0)
    assert torch.allclose(stability(upsampled, 0.3, 1.0), expected, atol=2 / min(pixels.clamp(min=2)).item())


def test_a_part_is_placed_in_its_image():
    logits = logits_like_a_models(3, 16, 16, seed=2)
    whole = torch.zeros(3, 50, 60, dtype=torch.bool)
    whole[:, 7:47, 20:60] = plain(logits, (40, 40)) > 0
    masks = decoded(encode(upsample(logits, (40, 40)), 0.0, (50, 60), (7, 20)), (50, 60))
    assert (masks != whole).float().mean() < 1e-4


def test_empty_and_full_masks_and_none():
    logits = torch.stack([torch.full((4, 4), -3.0), torch.full((4, 4), 3.0)])
    upsampled = upsample(logits, (10, 20))
    assert areas(upsampled, 0.0).tolist() == [0, 200]
    assert stability(upsampled, 0.0, 1.0).tolist() == [0.0, 1.0]
    assert [counts.tolist() for counts in encode(upsampled, 0.0, (10, 20), (0, 0))] == [[200], [0, 200]]
    assert encode(upsample(logits[:0], (10, 20)), 0.0, (10, 20), (0, 0)) == []
    assert stability(upsample(logits[:0], (10, 20)), 0.0, 1.0).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_resized_in_float32(dtype):
    logits = logits_like_a_models(2, 16, 16, seed=3).to(dtype)
    masks = decoded(encode(upsample(logits, (40, 50)), 0.0, (40, 50), (0, 0)), (40, 50))
    assert_equal_but_for_ties(masks, plain(logits.float(), (40, 50)), 0.0)


def test_noise_goes_the_plain_way_and_is_the_same(monkeypatch):
    logits = torch.randn(5, 32, 48, generator=torch.Generator().manual_seed(6))
    smooth = logits_like_a_models(5, 32, 48, seed=6, smoothness=16)
    size = (70, 90)
    crossings = encode(upsample(logits, size), 0.0, (80, 95), (10, 5))
    score = stability(upsample(logits, size), 0.0, 0.1)
    monkeypatch.undo()
    monkeypatch.setattr(upsampled_masks, "_PIXELS_AT_ONCE", 2 * 70 * 90)  # in several parts
    upsampled = upsample(logits, size)
    assert find_switches(upsampled, 0.0) is None
    assert find_switches(upsample(smooth, size), 0.0) is not None
    assert [len(part) for part in cut(upsampled, 0.0)] == [2, 2, 1]
    masks = decoded(encode(upsampled, 0.0, (80, 95), (10, 5)), (80, 95))
    assert (masks != decoded(crossings, (80, 95))).float().mean() < 1e-4
    assert torch.allclose(stability(upsampled, 0.0, 0.1), score, atol=1e-3)
    assert areas(upsampled, 0.0).tolist() == masks.sum((1, 2)).tolist()


@pytest.mark.gpu
def test_masks_on_a_gpu_equal_the_cpu():
    logits = logits_like_a_models(5, 64, 64, seed=4)
    ours = decoded(encode(upsample(logits.cuda(), (300, 401)), 0.0, (300, 401), (0, 0)), (300, 401))
    assert_equal_but_for_ties(ours, plain(logits, (300, 401)), 0.0)


@pytest.mark.parametrize("size", SIZES)
def test_arrays_give_what_tensors_give(size):
    logits = logits_like_a_models(4, 32, 48, seed=3)
    ours, theirs = upsample(logits.numpy(), size), upsample(logits, size)
    assert isinstance(ours.columns, np.ndarray)
    for found, wanted in zip(encode(ours, 0.2, size, (0, 0)), encode(theirs, 0.2, size, (0, 0)), strict=True):
        masks = decoded([found, wanted], size)
        assert (masks[0] != masks[1]).float().mean() < 1e-3  # pixels whose logit is the threshold up to rounding
    np.testing.assert_allclose(areas(ours, 0.2), areas(theirs, 0.2), atol=2)
    for some, others in zip(cut(ours, 0.2), cut(theirs, 0.2), strict=True):
        assert (torch.from_numpy(some) != others).float().mean() < 1e-3


def test_arrays_of_noise_go_the_plain_way(monkeypatch):
    monkeypatch.setattr(upsampled_masks, "_RAGGED", 0.0)
    logits = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(4)).numpy()
    upsampled = upsample(logits, (16, 16))
    assert find_switches(upsampled, 0.0) is None
    masks = decoded(encode(upsampled, 0.0, (16, 16), (0, 0)), (16, 16))
    assert areas(upsampled, 0.0).tolist() == masks.sum((1, 2)).tolist()
    assert upsample(logits[:0], (16, 16)).columns.shape == (0, 8, 16)
    assert encode(upsample(logits[:0], (16, 16)), 0.0, (16, 16), (0, 0)) == []
