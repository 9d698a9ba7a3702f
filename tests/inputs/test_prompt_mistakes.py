"""Mistakes in prompts: each is refused by name, and values that only look like one are read."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch

from sam2_hf.inputs.prompts import read_prompts, scale_prompts
from sam2_hf.prompt_values import PAD_VALUE


def refused(message: str, error: type[Exception] = ValueError) -> Any:
    return pytest.raises(error, match="^" + re.escape(message) + "$")


NESTED = "must be nested 4 deep (images, objects, points, (x, y)), for example [[[[500, 375]]]]; got"
MEANINGS = (
    "1 (object), 0 (background), 2 (upper left corner of a box), 3 (lower right corner of a box), -1 (not a point), "
    "-10 (padding)"
)
POINT_HERE = [[[[1, 2]]]]
MISTAKES = {
    "too shallow": ({"input_points": [[500, 375]]}, f"input_points {NESTED} 2 deep"),
    "a number": ({"input_points": 5}, f"input_points {NESTED} 0 deep"),
    "too deep": ({"input_points": [POINT_HERE]}, f"input_points {NESTED} 5 deep"),
    "flat array": ({"input_points": np.ones((3, 2))}, f"input_points {NESTED} 2 deep"),
    "uneven": (
        {"input_points": [[[[1, 2]], [3, 4]]]},
        f"input_points {NESTED} 3 and 4 deep, first at input_points[0][1][0]",
    ),
    "empty and too deep": ({"input_points": [[[[[]]]]]}, f"input_points {NESTED} 5 deep"),
    "labels too shallow": (
        {"input_points": POINT_HERE, "input_labels": [1]},
        "input_labels must be nested 3 deep (images, objects, labels), for example [[[1]]]; got 1 deep",
    ),
    "boxes too shallow": (
        {"input_boxes": [[1, 2, 3, 4]]},
        "input_boxes must be nested 3 deep (images, objects, (x0, y0, x1, y1)), "
        "for example [[[75, 275, 1725, 850]]]; got 2 deep",
    ),
    "three coordinates": (
        {"input_points": [[[[1, 2], [1, 2, 3]]]]},
        "input_points[0][0][1] must be 2 numbers (x, y), got 3: [1, 2, 3]",
    ),
    "three coordinates in an array": (
        {"input_points": np.ones((1, 1, 1, 3))},
        "input_points[0][0][0] must be 2 numbers (x, y), got 3: [1.0, 1.0, 1.0]",
    ),
    "no coordinates": ({"input_points": [[[[]]]]}, "input_points[0][0][0] must be 2 numbers (x, y), got 0: []"),
    "no point between points": (
        {"input_points": [[[[1, 2], None]]]},
        "input_points[0][0][1] must be 2 numbers (x, y), got 0: []",
    ),
    "half a box": (
        {"input_boxes": [[[1, 2, 3, 4], [1, 2]]]},
        "input_boxes[0][1] must be 4 numbers (x0, y0, x1, y1), got 2: [1, 2]",
    ),
    "labels alone": (
        {"input_labels": [[[1]]]},
        "input_labels belong to points: give input_points with them, or leave both out",
    ),
    "labels of fewer images": (
        {"input_points": POINT_HERE * 2, "input_labels": [[[1]]]},
        "input_labels must hold labels for as many images as input_points: expected 2, got 1",
    ),
    "labels of fewer objects": (
        {"input_points": [[[[1, 2]], [[3, 4]]]], "input_labels": [[[1]]]},
        "input_labels[0] must hold labels for as many objects as input_points[0]: expected 2, got 1",
    ),
    "labels of no object": (
        {"input_points": POINT_HERE * 2, "input_labels": [[[1]], None]},
        "input_labels[1] must hold labels for as many objects as input_points[1]: expected 1, got 0",
    ),
    "labels of fewer points": (
        {"input_points": [[[[1, 2]], [[3, 4], [5, 6]]]], "input_labels": [[[1], [1]]]},
        "input_labels[0][1] must hold one label for every point: expected 2, got 1",
    ),
    "unknown label": (
        {"input_points": [[[[1, 2], [3, 4]]]], "input_labels": [[[1, 4]]]},
        f"input_labels[0][0][1] must be one of {MEANINGS}; got 4",
    ),
    "fractional label": (
        {"input_points": POINT_HERE, "input_labels": [[[0.5]]]},
        f"input_labels[0][0][0] must be one of {MEANINGS}; got 0.5",
    ),
    "label NaN": (
        {"input_points": POINT_HERE, "input_labels": [[[float("nan")]]]},
        "input_labels[0][0][0] must be a finite number, got nan",
    ),
    "NaN": (
        {"input_points": [[[[1, 2]], [[3, float("nan")]]]]},
        "input_points[0][1][0][1] must be a finite number, got nan",
    ),
    "infinity in an array": (
        {"input_points": np.array([[[[np.inf, 1]]]])},
        "input_points[0][0][0][0] must be a finite number, got inf",
    ),
    "infinite box": (
        {"input_boxes": [[[1, 2, 3, float("inf")]]]},
        "input_boxes[0][0][3] must be a finite number, got inf",
    ),
    "no image": (
        {"input_points": []},
        "input_points is empty, it holds no image: expected for example [[[[500, 375]]]]",
    ),
    "no object": (
        {"input_points": [[], None]},
        "input_points is empty, it holds no object: expected for example [[[[500, 375]]]]",
    ),
    "empty array": (
        {"input_boxes": np.empty((1, 0, 4))},
        "input_boxes is empty, it holds no object: expected for example [[[75, 275, 1725, 850]]]",
    ),
    "no point": (
        {"input_points": [[[]]]},
        "input_points and input_labels hold no prompt: expected a point or a box for some object",
    ),
    "padding alone": (
        {"input_boxes": [[[-10] * 4]]},
        "input_boxes hold no prompt: expected a point or a box for some object",
    ),
    "boxes of fewer images": (
        {"input_points": POINT_HERE * 2, "input_boxes": [[[1, 2, 3, 4]]]},
        "input_boxes must hold boxes for as many images as input_points: expected 2, got 1",
    ),
    "boxes of fewer objects": (
        {"input_points": [[[[1, 2]], [[3, 4]]]], "input_boxes": [[[1, 2, 3, 4]]]},
        "input_boxes[0] must hold as many objects as input_points[0], None for one without a box: expected 2, got 1",
    ),
}


@pytest.mark.parametrize("arguments, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(arguments, message):
    with refused(message):
        read_prompts(**arguments)


def test_things_that_hold_no_numbers_are_refused():
    message = "input_points[0][0][0] must hold numbers in lists, arrays or tensors, got"
    with refused(f"{message} str", TypeError):
        read_prompts([[["a"]]])
    with refused(f"{message} dict", TypeError):
        read_prompts([[[{"x": 1}]]])


PLACES = {
    "too few images": (
        {"input_points": POINT_HERE},
        [(10, 10)] * 2,
        "input_points must hold prompts for as many images as there are: expected 2, got 1",
    ),
    "too many images": (
        {"input_boxes": [[[1, 2, 3, 4]]] * 2},
        [(10, 10)],
        "input_boxes must hold prompts for as many images as there are: expected 1, got 2",
    ),
    "far to the right": (
        {"input_points": [[[[1, 2], [50, 5]]]]},
        [(10, 20)],
        "input_points[0][0][1] lies far outside its image: expected (x, y) in pixels of an image 20 wide "
        "and 10 high, got (50, 5)",
    ),
    "far above": (
        {"input_points": [[[[1, -11]]]]},
        [(10, 20)],
        "input_points[0][0][0] lies far outside its image: expected (x, y) in pixels of an image 20 wide "
        "and 10 high, got (1, -11)",
    ),
    "box of another image": (
        {"input_boxes": [[[1, 2, 3, 4], [75, 275, 1725, 850]]]},
        [(300, 400)],
        "input_boxes[0][1] lies far outside its image: expected (x, y) in pixels of an image 400 wide and 300 high, "
        "got (1725, 850)",
    ),
    "upside down": (
        {"input_boxes": [[[1, 8, 3, 4]]]},
        [(10, 10)],
        "input_boxes[0][0] is upside down: expected (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1, got (1, 8, 3, 4)",
    ),
    "back to front": (
        {"input_boxes": [[None, [5, 2, 3, 4.5]]]},
        [(10, 10)],
        "input_boxes[0][1] is upside down: expected (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1, got (5, 2, 3, 4.5)",
    ),
}


@pytest.mark.parametrize("arguments, sizes, message", PLACES.values(), ids=PLACES)
def test_prompts_that_do_not_fit_their_image_are_named(arguments, sizes, message):
    prompts = read_prompts(**arguments)
    with refused(message):
        scale_prompts(prompts, sizes, sizes)


def test_prompts_may_lie_outside_by_one_image():
    prompts = read_prompts([[[[-20, 20], [40, -10]]]], None, [[[-20, -10, 40, 20]]])
    placed = scale_prompts(prompts, [(10, 20)], [(10, 20)])
    assert torch.equal(placed.points, prompts.points) and torch.equal(placed.boxes, prompts.boxes)


def test_object_arrays_are_read_as_the_lists_they_hold():
    rows = np.empty(2, dtype=object)
    rows[:] = [[[1, 2]], [[3, 4], [5, 6]]]
    assert read_prompts([rows]).labels.tolist() == [[[1, -10], [1, 1]]]


def test_a_box_may_be_given_as_its_corners():
    """Labels 2 and 3, as programs send them that have clicks and a box in one list of points."""
    points, labels = [[[[5, 6], [10, 20], [30, 50]], [[1, 2]]]], [[[1, 2, 3], [0]]]
    prompts = read_prompts(points, labels)
    assert prompts.labels.tolist() == [[[1, 2, 3], [0, PAD_VALUE, PAD_VALUE]]]
    assert prompts.points[0, 0].tolist() == points[0][0]


CORNERS = {
    "one corner": (
        [[[10, 20]]],
        [[2]],
        "must have the corners of a box as one pair of the labels 2 and 3, got 1 and 0",
    ),
    "two boxes": (
        [[[1, 2], [3, 4], [5, 6], [7, 8]]],
        [[2, 3, 2, 3]],
        "must have the corners of a box as one pair of the labels 2 and 3, got 2 and 2",
    ),
    "upside down": (
        [[[10, 20], [5, 30]]],
        [[2, 3]],
        "has a box upside down: expected label 2 at its upper left and 3 at its lower right corner, "
        "got (10, 20, 5, 30)",
    ),
}


@pytest.mark.parametrize("points, labels, message", CORNERS.values(), ids=CORNERS)
def test_corners_that_are_no_box_are_refused(points, labels, message):
    with refused(f"input_labels[0][0] {message}"):
        read_prompts([points], [labels])


def test_a_box_by_labels_and_another_are_refused():
    with refused("input_labels[0][0] must not have a box by the labels 2 and 3 beside that of input_boxes"):
        read_prompts([[[[1, 2], [3, 4]]]], [[[2, 3]]], [[[1, 2, 3, 4]]])
    read_prompts([[[[1, 2], [3, 4]], [[1, 2]]]], [[[2, 3], [1]]], [[None, [1, 2, 3, 4]]])


def itself() -> list[Any]:
    nested: list[Any] = []
    nested.append(nested)
    return nested


NO_NUMBERS = {
    "bools": ([[[[True, False]]]], TypeError, "got bools?|got True"),
    "a bool among numbers": ([[[[1.5, True]]]], TypeError, "got True"),
    "array of bools": (np.ones((1, 1, 1, 2), bool), TypeError, "got bools"),
    "tensor of bools": (torch.ones(1, 1, 1, 2, dtype=torch.bool), TypeError, "got bools"),
    "complex": ([[[[1j, 2]]]], TypeError, "got complex"),
    "complex array": (np.ones((1, 1, 1, 2), complex), TypeError, "must hold real numbers, got an array of complex128"),
    "complex tensor": (torch.ones(1, 1, 1, 2, dtype=torch.complex64), TypeError, "got a complex tensor"),
    "range": ([[[range(2)]]], TypeError, "got range"),
    "deque": ([[[deque([1, 2])]]], TypeError, "got deque"),
    "masked array": (np.ma.masked_array(np.ones((1, 1, 1, 2)), True), TypeError, "got a masked array"),
    "a masked array in lists": ([[[np.ma.masked_array([1, 2], [True, False])]]], TypeError, "got a masked array"),
    "an int longer than floats": ([[[[10**400, 2]]]], ValueError, "must be a finite number, got an int of 1329 bits"),
    "itself": (itself(), ValueError, "got a list that contains itself"),
    "meta": (torch.ones(1, 1, 1, 2, device="meta"), TypeError, "got a meta tensor"),
    "sparse": (torch.ones(1, 1, 1, 2).to_sparse(), TypeError, "got a sparse tensor"),
    "a number and nothing": ([[[[1, []]]]], ValueError, "input_points"),
}


@pytest.mark.parametrize("points, error, message", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_holds_no_numbers_is_refused_by_name(points, error, message):
    with pytest.raises(error, match=message) as refused_:
        read_prompts(points)
    assert str(refused_.value).startswith("input_points")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int16])
def test_tensors_of_every_number_and_with_gradients_are_read(dtype):
    points = torch.tensor([[[[4.0, 8.0]]]]).to(dtype)
    if points.dtype in (torch.float16, torch.bfloat16):
        points.requires_grad_()
    assert read_prompts(points).points.tolist() == [[[[4, 8]]]]
    assert read_prompts([[[points[0, 0, 0]]]]).points.tolist() == [[[[4, 8]]]]


def test_big_endian_arrays_are_read():
    assert read_prompts(np.array([[[[4, 8]]]], dtype=">i4")).points.tolist() == [[[[4, 8]]]]
