"""Overlap on run lengths equals overlap of pixels, and suppression by it that of a plain loop over masks."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_hf.masks.boxes import mask_to_box
from sam2_hf.masks.rle import mask_run_lengths
from sam2_hf.masks.rle_overlap import (
    RunIntervals,
    intersect_run_lengths,
    join_run_lengths,
    mask_nms,
    rectangle_run_lengths,
)


def drawn(seed: int, count: int, height: int, width: int) -> torch.Tensor:
    """Masks of all kinds: empty, full, scattered, and rectangles that overlap."""
    generator = np.random.default_rng(seed)
    masks = generator.random((count, height, width)) < generator.random((count, 1, 1)) ** 2
    for mask in masks[::2]:
        top, left = generator.integers(0, height), generator.integers(0, width)
        mask[:] = False
        mask[top : top + generator.integers(1, height + 1), left : left + generator.integers(1, width + 1)] = True
    masks[generator.integers(0, count)] = generator.random() < 0.5
    return torch.from_numpy(masks)


def plain_nms(masks: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        ious = [(masks[index] & masks[k]).sum() / max(1, int((masks[index] | masks[k]).sum())) for k in kept]
        if all(iou <= threshold for iou in ious):
            kept.append(index)
    return kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 9), st.integers(1, 9))
def test_overlap_on_run_lengths_is_that_of_pixels(seed, count, height, width):
    masks = drawn(seed, count, height, width)
    intervals = RunIntervals(mask_run_lengths(masks))
    others = list(range(count))
    for one in others:
        shared = (masks[one] & masks).sum((1, 2))
        union = (masks[one] | masks).sum((1, 2))
        assert intervals.intersections(one, others).tolist() == shared.tolist()
        assert intervals.ious(one, others).tolist() == (shared.double() / union.clamp(min=1)).tolist()
    assert intervals.areas.tolist() == masks.sum((1, 2)).tolist()
    assert intervals.intersections(0, []).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
def test_suppression_is_that_of_a_plain_loop(seed, count, threshold):
    masks = drawn(seed, count, 7, 9)
    scores = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, count) / 4)  # some are equal
    kept = mask_nms(mask_run_lengths(masks), mask_to_box(masks), scores, threshold)
    assert kept.tolist() == plain_nms(masks, scores, threshold) and kept.dtype == torch.int64


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
def test_unions_intersections_and_rectangles_are_those_of_pixels(seed, count, height, width):
    masks = drawn(seed, count, height, width)
    (expected,) = mask_run_lengths(masks.any(0)[None])
    assert join_run_lengths(mask_run_lengths(masks)).tolist() == expected.tolist()
    counts = mask_run_lengths(masks)
    for other in range(count):
        (expected,) = mask_run_lengths((masks[0] & masks[other])[None])
        assert intersect_run_lengths(counts[0], counts[other]).tolist() == expected.tolist()
    generator = np.random.default_rng(seed)
    (left, right), (top, bottom) = (np.sort(generator.integers(0, side + 1, 2)) for side in (width, height))
    rectangle = torch.zeros(1, height, width, dtype=torch.bool)
    rectangle[0, top:bottom, left:right] = True
    counts = rectangle_run_lengths((left, top, right, bottom), (height, width))
    assert counts.tolist() == mask_run_lengths(rectangle)[0].tolist()
    shared = RunIntervals(mask_run_lengths(masks)).intersections_with(counts, range(count))
    assert shared.tolist() == (masks & rectangle).sum((1, 2)).tolist()


def test_no_masks():
    assert mask_nms([], torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
