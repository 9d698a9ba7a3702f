from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sam2_hf.training.evaluation.metrics import (
    ObjectFrames,
    ObjectScore,
    contour,
    contour_accuracy,
    dilate,
    region_similarity,
    summarise,
)

EMPTY = np.zeros((40, 50), bool)


def blobs(seed, size=(40, 50)):
    """Two masks that have something to do with each other."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(size)
    masks = []
    centre, radius = rng.uniform((5, 5), size), rng.uniform(3, 15)
    for _ in range(2):
        shifted = centre + rng.normal(0, 2, 2)
        masks.append(np.hypot(y - shifted[0], x - shifted[1]) < radius * rng.uniform(0.8, 1.2))
    return masks


def slow_contour(mask):
    """The contour as pairs (y, x), found pixel by pixel."""
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            neighbours = [mask[min(y + dy, height - 1), min(x + dx, width - 1)] for dy, dx in ((0, 1), (1, 0), (1, 1))]
            if any(neighbour != mask[y, x] for neighbour in neighbours):
                found.append((y, x))
    return np.array(found).reshape(-1, 2)


def slow_contour_accuracy(predicted, truth):
    """F from the distances of all pairs of contour pixels, with no dilation at all."""
    found, wanted = slow_contour(predicted), slow_contour(truth)
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    radius = np.ceil(0.008 * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
    distances = cdist(found, wanted)
    precision, recall = ((distances.min(axis=axis) <= radius).mean() for axis in (1, 0))
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_contour_accuracy_equals_that_of_all_pairs_of_pixels(seed):
    predicted, truth = blobs(seed)
    assert contour_accuracy(predicted, truth) == pytest.approx(slow_contour_accuracy(predicted, truth))


def test_tolerance_grows_with_the_image():
    predicted, truth = blobs(3, size=(150, 200))
    assert contour_accuracy(predicted, truth) == pytest.approx(slow_contour_accuracy(predicted, truth))
    shifted = np.roll(truth, 2, axis=1)
    assert contour_accuracy(shifted, truth) > contour_accuracy(shifted[:30, :40], truth[:30, :40])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_dilating_reaches_as_far_as_the_radius(seed, radius):
    mask = np.random.default_rng(seed).random((20, 30)) < 0.03
    y, x = np.indices(mask.shape)
    expected = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        expected |= (y - row) ** 2 + (x - column) ** 2 <= radius**2
    assert np.array_equal(dilate(mask, radius), expected)


def test_contours_are_one_pixel_wide():
    mask = EMPTY.copy()
    mask[10:20, 5:30] = True
    assert np.array_equal(np.argwhere(contour(mask)), slow_contour(mask))
    assert contour(mask)[15].sum() == 2
    assert not contour(~EMPTY).any()


@pytest.mark.parametrize("measure", [region_similarity, contour_accuracy])
def test_perfect_wrong_and_empty_masks(measure):
    mask = blobs(1)[0]
    assert measure(mask, mask) == 1
    assert measure(EMPTY, EMPTY) == 1
    assert measure(mask, EMPTY) == 0
    assert measure(EMPTY, mask) == 0


def test_region_similarity_is_overlap_over_union():
    first, second = EMPTY.copy(), EMPTY.copy()
    first[:10, :10] = True
    second[5:10, :20] = True
    assert region_similarity(first, second) == 50 / 150


def test_frames_of_an_object_are_averaged():
    mask = blobs(1)[0]
    frames = ObjectFrames()
    frames.add(mask, mask)
    frames.add(EMPTY, mask)
    frames.add(EMPTY, EMPTY)
    score = frames.score("bear", 7)
    assert score == ObjectScore("bear", "7", 2 / 3, 2 / 3, 2 / 3)
    assert score.both == 2 / 3


def test_frames_after_an_object_was_out_of_sight_are_averaged_by_themselves():
    mask = blobs(1)[0]
    frames = ObjectFrames()
    for predicted, truth in ((EMPTY, mask), (EMPTY, EMPTY), (mask, mask), (mask, EMPTY), (EMPTY, mask), (mask, mask)):
        frames.add(predicted, truth)
    assert frames.score("bear", 7).both_reappearing == 2 / 3


def test_what_never_reappears_has_no_score_for_it():
    mask = blobs(1)[0]
    frames = ObjectFrames()
    frames.add(mask, mask)
    frames.add(EMPTY, EMPTY)
    assert frames.score("bear", 7).both_reappearing is None


def test_unknown_pixels_count_as_right():
    mask = blobs(1)[0]
    frames = ObjectFrames()
    frames.add(~mask, mask, ignored=~EMPTY)
    assert frames.score("bear", 7) == ObjectScore("bear", "7", 1, 1, 1)


def test_every_object_counts_the_same():
    scores = [ObjectScore("a", "1", 1.0, 0.5, 1.0), ObjectScore("b", "1", 0.0, 0.5, 0.5)]
    assert summarise(iter(scores)) == {"J": 0.5, "F": 0.5, "J&F": 0.5, "visibility": 0.75}
    with pytest.raises(ValueError, match="no object"):
        summarise([])


def test_only_objects_that_reappear_count_for_how_well_they_do():
    scores = [ObjectScore("a", "1", 1.0, 1.0, 1.0, again) for again in (None, 0.0, 0.5)]
    assert summarise(scores)["J&F reappearing"] == 0.25
