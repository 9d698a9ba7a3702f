"""Prompts as users nest them become padded arrays in the pixels of the model's input."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_prompt_mistakes import NESTED, refused

from sam2_hf.inputs.prompts import Prompts, read_prompts, scale_prompts
from sam2_hf.prompt_values import PAD_VALUE

COORDINATE = st.integers(-20, 1000).filter(lambda value: value != PAD_VALUE) | st.floats(0, 1000, width=32)
POINT = st.tuples(COORDINATE, COORDINATE)
EMPTY = st.sampled_from([None, []])
CONTAINERS = st.sampled_from([list, tuple, np.asarray, lambda rows: torch.tensor(np.asarray(rows, dtype=float))])


def ragged(entry: st.SearchStrategy) -> st.SearchStrategy[list[list[list[Any]]]]:
    """Images of objects of entries, with empty ones at every level, and at least one entry in all."""
    objects = st.lists(st.lists(entry, max_size=4), max_size=3)
    batches = st.lists(objects, min_size=1, max_size=3)
    return batches.filter(lambda batch: any(entries for image in batch for entries in image))


def entangle(batch: list[list[list[Any]]], data: st.DataObject) -> Any:
    """The same values in lists, tuples, arrays and tensors, and None for what is empty."""

    def contain(items: list[Any], only_lists: bool) -> Any:
        if not items:
            return data.draw(EMPTY)
        return data.draw(st.sampled_from([list, tuple]) if only_lists else CONTAINERS)(items)

    images = [contain([contain(entries, False) for entries in image], True) for image in batch]
    return data.draw(st.sampled_from([list, tuple]))(images)


def unpad_points(prompts: Prompts, batch: list[list[list[Any]]]) -> list[list[list[tuple[float, float]]]]:
    """The points whose label is not padding, cut to the objects of `batch`."""
    assert prompts.points is not None and prompts.labels is not None
    kept = []
    for points, labels, image in zip(prompts.points, prompts.labels, batch, strict=True):
        assert (labels[len(image) :] == PAD_VALUE).all() and (points[len(image) :] == PAD_VALUE).all()
        kept.append(
            [[tuple(xy) for xy in p[mark != PAD_VALUE].tolist()] for p, mark in zip(points, labels, strict=True)][
                : len(image)
            ]
        )
    return kept


@settings(deadline=None)  # the first call loads and warms up
@given(ragged(POINT), st.data())
def test_ragged_points_survive_padding(batch, data):
    prompts = read_prompts(entangle(batch, data))
    expected = [[[tuple(np.float32(xy).tolist()) for xy in entries] for entries in image] for image in batch]
    assert unpad_points(prompts, batch) == expected


@settings(deadline=None)
@given(ragged(st.tuples(POINT, st.sampled_from([1, 0, -1]))), st.data())
def test_ragged_labels_stay_with_their_points(batch, data):
    points = [[[point for point, _ in entries] for entries in image] for image in batch]
    labels = [[[label for _, label in entries] for entries in image] for image in batch]
    prompts = read_prompts(entangle(points, data), entangle(labels, data))
    assert prompts.labels.dtype == torch.int64
    unpadded = [
        [mark[mark != PAD_VALUE].tolist() for mark in image][: len(given_)]
        for image, given_ in zip(prompts.labels, labels, strict=True)
    ]
    assert unpadded == labels
    assert (prompts.labels == PAD_VALUE).eq((prompts.points == PAD_VALUE).all(-1)).all()


@settings(deadline=None)
@given(st.lists(st.lists(st.none() | st.tuples(POINT, POINT), max_size=4), min_size=1, max_size=3))
def test_ragged_boxes_survive_padding(batch):
    boxes = [[None if box is None else [*box[0], *box[1]] for box in image] for image in batch]
    if not any(box is not None for image in boxes for box in image):
        with pytest.raises(ValueError, match="input_boxes"):
            read_prompts(input_boxes=boxes)
        return
    padded = read_prompts(input_boxes=boxes).boxes
    for rows, image in zip(padded, boxes, strict=True):
        expected = [[PAD_VALUE] * 4 if box is None else np.float32(box).tolist() for box in image]
        expected += [[PAD_VALUE] * 4] * (len(rows) - len(image))
        assert rows.tolist() == expected


@settings(deadline=None)
@given(ragged(POINT), st.integers(-2, 2).filter(bool))
def test_wrong_nesting_names_argument_and_depths(batch, levels):
    points = [[entries for entries in image if entries] for image in batch]
    points = [image for image in points if image]
    for _ in range(levels):
        points = [points]
    for _ in range(-levels):
        points = points[0]
    with refused(f"input_points {NESTED} {4 + levels} deep"):
        read_prompts(points)


@settings(deadline=None)
@given(
    ragged(POINT),
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_points_scale_with_their_image_each_way_by_itself(batch, size, model_size):
    (height, width), (model_height, model_width) = size, model_size
    inside = [[[(x % width, y % height) for x, y in entries] for entries in image] for image in batch]
    prompts = read_prompts(inside)
    placed = scale_prompts(prompts, [size] * len(batch), [model_size] * len(batch))
    factor = torch.tensor([model_width / width, model_height / height], dtype=torch.float64)
    real = prompts.labels != PAD_VALUE
    torch.testing.assert_close(
        placed.points[real].double(), prompts.points[real].double() * factor, rtol=1e-6, atol=1e-38
    )
    assert (placed.points[~real] == PAD_VALUE).all()
    assert placed.labels is prompts.labels


def test_whole_arrays_pass_unpadded():
    points = np.arange(24.0).reshape(2, 2, 3, 2)
    prompts = read_prompts(points, torch.ones(2, 2, 3, dtype=torch.bfloat16), torch.arange(16).view(2, 2, 4))
    assert prompts.points.dtype == prompts.boxes.dtype == torch.float32
    assert torch.equal(prompts.points, torch.from_numpy(points).float())
    assert torch.equal(prompts.labels, torch.ones(2, 2, 3, dtype=torch.int64))
    assert torch.equal(prompts.boxes, torch.arange(16.0).view(2, 2, 4))


def test_points_without_labels_mean_the_object():
    prompts = read_prompts([[[[1, 2]], [[3, 4], [5, 6]]]])
    assert prompts.labels.tolist() == [[[1, PAD_VALUE], [1, 1]]]


def test_padding_that_the_caller_wrote_stays_padding():
    prompts = read_prompts([[[[1, 2], [-10, -10]]]])
    assert prompts.labels.tolist() == [[[1, PAD_VALUE]]]
    prompts = read_prompts([[[[1, 2], [7, 8]]]], [[[1, -10]]])
    assert prompts.points.tolist() == [[[[1, 2], [-10, -10]]]]
    placed = scale_prompts(read_prompts(None, None, [[[1, 2, 3, 4], [-10] * 4]]), [(10, 10)], [(20, 20)])
    assert placed.boxes.tolist() == [[[2, 4, 6, 8], [-10] * 4]]


def test_a_point_at_minus_ten_with_a_label_is_a_point():
    prompts = read_prompts([[[[-10, -10]]]], [[[0]]])
    placed = scale_prompts(prompts, [(100, 100)], [(200, 50)])
    assert placed.points.tolist() == [[[[-5, -20]]]]


def test_points_for_some_objects_and_boxes_for_others():
    prompts = read_prompts([[[[1, 2]], None, []]], [[[0], None, []]], [[None, [1, 2, 3, 4], [5, 6, 7, 8]]])
    assert prompts.labels.tolist() == [[[0], [-10], [-10]]]
    assert prompts.boxes.tolist() == [[[-10] * 4, [1, 2, 3, 4], [5, 6, 7, 8]]]


def test_points_for_some_images_and_boxes_for_others():
    prompts = read_prompts([[[[1, 2]]], None], None, [[], [[1, 2, 3, 4], [5, 6, 7, 8]]])
    assert prompts.points.shape == (2, 2, 1, 2) and prompts.boxes.shape == (2, 2, 4)
    assert prompts.labels.tolist() == [[[1], [-10]], [[-10], [-10]]]
    assert prompts.boxes[0].eq(PAD_VALUE).all()


def test_nothing_given_gives_nothing():
    assert read_prompts() == Prompts() and read_prompts().named() == {}
    assert scale_prompts(Prompts(), [(1, 1)], [(2, 2)]) == Prompts()


def test_the_callers_values_are_not_changed():
    points, labels = [[[[1, 2]], [np.array([3.0, 4.0]), (5, 6)]]], [[[1], [0, 1]]]
    boxes = [[[1, 2, 3, 4], None]]
    before = copy.deepcopy((points, labels, boxes))
    scale_prompts(read_prompts(points, labels, boxes), [(9, 9)], [(18, 18)])
    np.testing.assert_equal((points, labels, boxes), before)
    array = np.full((1, 1, 2, 2), -10.0)
    array[0, 0, 0] = 3
    kept = array.copy()
    scale_prompts(read_prompts(array), [(9, 9)], [(18, 18)])
    np.testing.assert_equal(array, kept)
