"""Components against scipy; holes and sprinkles against a search per pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from sam2_hf.masks.connected_components import (
    connected_components,
    fill_holes,
    remove_sprinkles,
    small_components,
)

EIGHT = np.ones((3, 3))


def scipy_components(mask):
    """Labels by first pixel and areas by pixel, as connected_components defines them."""
    numbered, count = ndimage.label(mask.numpy(), EIGHT)
    labels, areas = np.zeros_like(numbered), np.zeros_like(numbered)
    for number in range(1, count + 1):
        member = numbered == number
        labels[member] = np.flatnonzero(member)[0] + 1
        areas[member] = member.sum()
    return torch.from_numpy(labels).int(), torch.from_numpy(areas).int()


@settings(max_examples=200, deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=12)))
def test_components_equal_scipy(masks):
    masks = torch.from_numpy(masks)
    labels, areas = connected_components(masks)
    for mask, label, area in zip(masks, labels, areas, strict=True):
        expected_label, expected_area = scipy_components(mask)
        assert torch.equal(label, expected_label)
        assert torch.equal(area, expected_area)


@pytest.mark.parametrize("density", [0.05, 0.4, 0.6, 0.95])
def test_components_of_large_noise_equal_scipy(density):
    masks = torch.rand(2, 97, 131, generator=torch.Generator().manual_seed(3)) < density
    labels, areas = connected_components(masks)
    for mask, label, area in zip(masks, labels, areas, strict=True):
        expected_label, expected_area = scipy_components(mask)
        assert torch.equal(label, expected_label)
        assert torch.equal(area, expected_area)


def spiral(size):
    """One component whose runs touch in an order that takes many rounds to merge."""
    mask = torch.zeros(size, size, dtype=torch.bool)
    low, high = 0, size - 1
    while low < high:
        mask[low, max(low - 2, 0) : high + 1] = True
        mask[low : high + 1, high] = True
        mask[high, low : high + 1] = True
        mask[low + 2 : high + 1, low] = True
        low, high = low + 2, high - 2
    return mask


def test_a_long_spiral_is_as_scipy_says():
    mask = spiral(101)
    labels, areas = connected_components(mask)
    expected_labels, expected_areas = scipy_components(mask)
    assert torch.equal(labels, expected_labels)
    assert torch.equal(areas, expected_areas)
    assert areas.max() == mask.sum()


def test_components_do_not_join_across_images_nor_across_the_ends_of_rows():
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    masks[0, 2] = masks[1, 0] = True  # last row of one image, first row of the next
    assert connected_components(masks)[1].amax((1, 2)).tolist() == [4, 4]
    wrapped = torch.zeros(1, 3, 4, dtype=torch.bool)
    wrapped[0, 0, 3] = wrapped[0, 1, 0] = True
    assert connected_components(wrapped)[1].max() == 1


@pytest.mark.parametrize("shape", [(3, 4), (2, 1, 3, 4), (2, 2, 2, 3, 4), (0, 3, 4), (1, 0, 4), (1, 3, 0)])
def test_any_leading_dimensions_and_empty_masks(shape):
    labels, areas = connected_components(torch.ones(shape, dtype=torch.bool))
    assert labels.shape == areas.shape == shape
    assert (areas == 12).all()


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"bool tensor .* got torch.float32"):
        connected_components(torch.zeros(3, 4))


@settings(max_examples=100, deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=10)), st.integers(0, 12))
def test_small_components_are_those_of_at_most_the_area(masks, max_area):
    masks = torch.from_numpy(masks)
    areas = connected_components(masks)[1]
    assert torch.equal(small_components(masks, max_area), masks & (areas <= max_area))


def drawing(*rows):
    return torch.tensor([[char == "#" for char in row] for row in rows])


RING = drawing("#####..", "#...#.#", "#.#.#..", "#...#..", "#####..")


def test_holes_up_to_the_area_are_filled():
    assert torch.equal(fill_holes(RING, 7), RING)
    filled = fill_holes(RING, 8)
    assert filled[:, :5].all()
    assert torch.equal(filled[:, 5:], RING[:, 5:])


def test_diagonal_gaps_connect_the_background():
    leaky = drawing("###", "#.#", "##.")
    assert torch.equal(fill_holes(leaky, 1), leaky)
    assert fill_holes(leaky, 2).all()


def test_sprinkles_up_to_the_area_are_removed():
    removed = remove_sprinkles(RING, 1)
    assert not removed[1, 6]
    assert not removed[2, 2]
    assert removed.sum() == RING.sum() - 2
    assert not remove_sprinkles(RING, 16).any()


def test_the_largest_of_nothing_but_sprinkles_can_stay():
    masks = torch.stack([drawing("#.##", "....", "##.#"), drawing("####", "####", "..##"), drawing(*["...."] * 3)])
    kept = remove_sprinkles(masks, 3, keep_largest=True)
    assert torch.equal(kept[0], drawing("..##", "....", "...."))
    assert torch.equal(kept[1], masks[1])
    assert not kept[2].any()


@pytest.mark.parametrize("threshold", [0.0, 1.5, -2.0])
def test_logits_move_just_across_the_threshold(threshold):
    logits = torch.where(RING, threshold + 3.0, threshold - 3.0)
    logits[1, 1] = threshold  # at the threshold is background
    original = logits.clone()
    filled = fill_holes(logits, 8, threshold)
    changed = filled != logits
    assert torch.equal(changed, fill_holes(RING, 8) & ~RING)
    assert torch.allclose(filled[changed], torch.tensor(threshold + 0.1))
    removed = remove_sprinkles(logits, 1, threshold, margin=10.0)
    assert torch.equal(removed != logits, RING & ~remove_sprinkles(RING, 1))
    assert removed[2, 2] == threshold - 10.0
    assert torch.equal(logits, original)


def test_an_area_of_zero_changes_nothing():
    assert fill_holes(RING, 0) is RING
    assert remove_sprinkles(RING, 0) is RING


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_dtype(dtype):
    logits = torch.where(RING, 2.0, -2.0).to(dtype)
    filled = fill_holes(logits, 8)
    assert filled.dtype == dtype
    assert (filled[:, :5] > 0).all()


@pytest.mark.gpu
def test_components_on_a_gpu_equal_the_cpu():
    masks = torch.rand(3, 97, 131, generator=torch.Generator().manual_seed(3)) < 0.5
    for ours, theirs in zip(connected_components(masks.cuda()), connected_components(masks), strict=True):
        assert torch.equal(ours.cpu(), theirs)
    small = small_components(masks.cuda(), 3, keep_largest=True)
    assert torch.equal(small.cpu(), small_components(masks, 3, keep_largest=True))
