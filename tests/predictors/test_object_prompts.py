import numpy as np
import pytest
import torch

from sam2_hf.predictors.object_prompts import ObjectPrompt, check_positions, read_object_prompts

MASK = np.zeros((6, 8), bool)
MASK[1:3, 2:5] = True


def plain(prompt):
    return prompt.name, prompt.points, prompt.labels, prompt.box


CUP = ("cup", ((5, 7),), (1,), (1, 1, 6, 8))
HAND = ("hand", ((1, 2), (3, 4)), (1, 1), None)
TABLE = ("table", (), (), (0, 0, 9, 9))
ONE_POINT = (1, ((5, 7),), (1,), None)
TWO_POINTS = (1, ((5, 7), (1, 2)), (1, 1), None)
BOX, OTHER_BOX = (1, (), (), (0, 1, 8, 9)), (2, (), (), (2, 3, 4, 5))

FORMS = {
    "a point": ({"points": (5, 7)}, [ONE_POINT]),
    "points of one object": ({"points": [(5, 7), (1, 2)]}, [TWO_POINTS]),
    "with labels": ({"points": [(5, 7), (1, 2)], "labels": [1, 0]}, [(1, ((5, 7), (1, 2)), (1, 0), None)]),
    "with one label": (
        {"points": (5, 7), "labels": 0, "boxes": (0, 0, 9, 9)},
        [(1, ((5, 7),), (0,), (0, 0, 9, 9))],
    ),
    "an array": ({"points": np.array([[5, 7], [1, 2]])}, [TWO_POINTS]),
    "a tensor": ({"points": torch.tensor([5, 7])}, [ONE_POINT]),
    "several objects": (
        {"points": [[(5, 7)], [(1, 2), (3, 4)]]},
        [ONE_POINT, (2, ((1, 2), (3, 4)), (1, 1), None)],
    ),
    "several with labels": (
        {"points": [[(5, 7)], [(1, 2)]], "labels": [[1], [0]], "boxes": [(0, 0, 9, 9), (1, 1, 5, 5)]},
        [(1, ((5, 7),), (1,), (0, 0, 9, 9)), (2, ((1, 2),), (0,), (1, 1, 5, 5))],
    ),
    "a box": ({"boxes": (0, 1, 8, 9)}, [BOX]),
    "boxes": ({"boxes": np.array([[0, 1, 8, 9], [2, 3, 4, 5]])}, [BOX, OTHER_BOX]),
    "an object without points among others": (
        {"points": [[(5, 7)], []], "boxes": [[], (2, 3, 4, 5)]},
        [ONE_POINT, OTHER_BOX],
    ),
    "names": (
        {
            "points": {"cup": (5, 7), "hand": [(1, 2), (3, 4)]},
            "boxes": {"table": (0, 0, 9, 9), "cup": (1, 1, 6, 8)},
        },
        [CUP, HAND, TABLE],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_prompts_are_read_in_their_simplest_form(form):
    given, expected = FORMS[form]
    assert [plain(prompt) for prompt in read_object_prompts(**given)] == expected


@pytest.mark.parametrize(
    "kind",
    [
        np.asarray,
        lambda mask: mask.astype(np.uint8),
        lambda mask: mask * np.uint8(255),
        lambda mask: mask.astype(float),
        torch.from_numpy,
    ],
)
def test_masks_are_read_in_the_forms_that_people_have(kind):
    (prompt,) = read_object_prompts(masks=kind(MASK))
    assert np.array_equal(prompt.mask, MASK) and prompt.mask.dtype == bool
    first, second = read_object_prompts(masks=[kind(MASK), kind(~MASK)])
    assert np.array_equal(first.mask, MASK) and np.array_equal(second.mask, ~MASK)
    (named,) = read_object_prompts(masks={"cup": kind(MASK)})
    assert named.name == "cup" and np.array_equal(named.mask, MASK)


def test_a_single_point_alone_is_ambiguous():
    assert ObjectPrompt(1, ((5, 7),), (1,)).is_ambiguous
    assert not ObjectPrompt(1, ((5, 7), (1, 2)), (1, 1)).is_ambiguous
    assert not ObjectPrompt(1, ((5, 7),), (1,), (0, 0, 9, 9)).is_ambiguous
    assert not ObjectPrompt(1, ((5, 7),), (1,), mask=MASK).is_ambiguous


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "expected points, boxes or masks .* none of them"),
        ({"labels": [1]}, ValueError, "expected points, boxes or masks"),
        ({"points": [(1, 2, 3)]}, ValueError, r"points of 1 must be \(x, y\)"),
        ({"points": (1, float("nan"))}, ValueError, "points of 1 must be finite"),
        ({"points": "left"}, TypeError, "points of 1 must be numbers, got 'left'"),
        ({"points": [("a", "b")]}, TypeError, "points of 1 must be numbers"),
        ({"points": [(1, 2)], "labels": [1, 0]}, ValueError, "labels of 1 must be one for each of its 1 points, got 2"),
        ({"points": (1, 2), "labels": 2}, ValueError, r"labels of 1 must be 1 .* or 0 .*, got \[2\]"),
        ({"boxes": (5, 1, 2, 9)}, ValueError, "box of 1 must be .* x0 <= x1"),
        ({"boxes": (5, 1, 2)}, ValueError, "box of 1 must be"),
        ({"points": {"cup": (1, 2)}, "boxes": (0, 0, 1, 1)}, ValueError, "points have names and boxes have none"),
        ({"points": [[(1, 2)], [(3, 4)]], "boxes": [(0, 0, 1, 1)] * 3}, ValueError, "2 in points, 3 in boxes"),
        ({"points": {"cup": []}}, ValueError, "object 'cup' has no prompt"),
        ({"masks": np.zeros((4, 4), bool)}, ValueError, "mask of 1 is empty"),
        ({"masks": {"cup": np.ones(4)}}, ValueError, r"mask of 'cup' must be \(height, width\)"),
        ({"points": 7}, ValueError, "points of 1 must be"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(given, error, message):
    with pytest.raises(error, match=message):
        read_object_prompts(**given)


def test_positions_far_outside_the_image_are_refused_by_name():
    near = {"cup": [(-90, 5), (190, 75)]}
    check_positions(read_object_prompts(points=near, boxes={"plate": (-9, -9, 199, 79)}), (40, 100))
    for given, message in (
        (
            {"points": {"cup": [(5, 5), (500, 5)]}},
            r"a point of 'cup' lies far outside the image of 100 x 40.*\(500, 5\)",
        ),
        ({"boxes": [(0, 0, 9, 9), (0, 0, 9, 90)]}, r"a corner of the box of 2 lies far outside"),
    ):
        with pytest.raises(ValueError, match=message):
            check_positions(read_object_prompts(**given), (40, 100))
