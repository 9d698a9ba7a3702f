import pytest
import torch

from sam2_hf.everything.admission import (
    AdmissionRule,
    admit,
    duplicates,
    intersections,
    mask_ious,
    match_masks,
)

RULE = AdmissionRule()


def box(x0, y0, x1, y1, size=20):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def boxes(*corners):
    return torch.stack([box(*each) for each in corners]) if corners else torch.zeros(0, 20, 20, dtype=torch.bool)


def test_ious_and_intersections_are_those_of_pixels():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(count, 9, 7, generator=generator) > 0.5 for count in (3, 4))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            assert intersections(first, second)[row, column] == (one & other).sum()
            expected = (one & other).sum() / (one | other).sum()
            assert mask_ious(first, second)[row, column] == pytest.approx(float(expected))
    assert mask_ious(boxes((0, 0, 0, 0)), boxes((0, 0, 0, 0))).item() == 0


def test_what_is_tracked_is_the_same_and_not_admitted():
    known = boxes((0, 0, 10, 10))
    decision = admit(boxes((0, 0, 9, 10), (12, 12, 18, 18)), [0.9, 0.8], known, RULE)
    assert (decision.admitted, decision.same) == ([1], {0: 0})
    assert torch.equal(decision.masks[0], box(12, 12, 18, 18))


def test_a_part_of_what_is_tracked_is_not_admitted():
    assert admit(boxes((2, 2, 5, 5)), [1.0], boxes((0, 0, 10, 10)), RULE).admitted == []


def test_what_is_covered_a_little_is_admitted_without_that():
    decision = admit(boxes((8, 0, 18, 10)), [1.0], boxes((0, 0, 10, 10)), RULE)
    assert decision.admitted == [0] and torch.equal(decision.masks[0], box(10, 0, 18, 10))


def test_what_is_covered_by_half_is_not():
    assert admit(boxes((5, 0, 15, 10)), [1.0], boxes((0, 0, 10, 10)), RULE).admitted == []
    assert admit(boxes((4, 0, 15, 10)), [1.0], boxes((0, 0, 9, 10)), AdmissionRule(covered=0.6)).admitted == [0]


def test_the_better_of_two_candidates_is_admitted_first():
    candidates = boxes((0, 0, 10, 10), (0, 0, 10, 9), (11, 0, 19, 9))
    assert admit(candidates, [0.8, 0.9, 0.7], boxes(), RULE).admitted == [1, 2]


def test_specks_and_backgrounds_are_not_admitted():
    candidates = boxes((0, 0, 1, 1), (0, 0, 20, 19), (5, 5, 15, 15))
    rule = AdmissionRule(least_area=0.01, most_area=0.9)
    assert admit(candidates, [1.0, 1.0, 1.0], boxes(), rule).admitted == [2]


def test_no_more_are_admitted_than_there_is_room_for():
    candidates = boxes((0, 0, 5, 5), (6, 0, 11, 5), (12, 0, 17, 5))
    assert admit(candidates, [0.7, 0.9, 0.8], boxes(), RULE, room=2).admitted == [1, 2]
    assert admit(candidates, [0.7, 0.9, 0.8], boxes(), RULE, room=0).admitted == []


def test_groups_may_lie_within_each_other_but_not_be_the_same():
    known, candidates = boxes((0, 0, 10, 10)), boxes((1, 1, 6, 6), (0, 0, 10, 9))
    decision = admit(candidates, [0.9, 0.8], known, RULE, groups=["shirt", "man"], known_groups=["person"])
    assert decision.admitted == [0] and torch.equal(decision.masks[0], candidates[0]) and decision.same == {1: 0}


def test_no_candidates():
    decision = admit(boxes(), [], boxes((0, 0, 10, 10)), RULE)
    assert decision == ([], [], {})


def test_masks_are_paired_best_first_and_once():
    first, second = boxes((0, 0, 10, 10), (0, 0, 10, 8)), boxes((0, 0, 10, 8), (0, 0, 10, 9))
    assert match_masks(first, second, 0.5) == [(1, 0), (0, 1)]
    assert match_masks(first, second, 0.5, lambda row, column: row == 0) == [(0, 1)]
    assert match_masks(first, second, 0.95) == [(1, 0)]
    assert match_masks(boxes((0, 0, 0, 0)), boxes((0, 0, 0, 0)), 0.0) == []


def test_of_two_that_became_one_the_one_that_moved_is_dropped():
    masks = boxes((0, 0, 10, 10), (0, 0, 10, 10), (12, 12, 18, 18))
    assert duplicates(masks, [0.9, 0.9, 0.9], RULE) == [(0, 1)]
    assert duplicates(masks, [0.0, 0.9, 0.9], RULE) == [(1, 0)]
    assert duplicates(masks[[0, 2]], [0.0, 0.9], RULE) == []


def test_of_three_that_became_one_one_stays():
    masks = boxes(*[(0, 0, 10, 10)] * 3)
    for continuity in ([1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.5, 1.0]):
        dropped = {lost for _, lost in duplicates(masks, continuity, RULE)}
        assert len(dropped) == 2


@pytest.mark.parametrize("value", [-0.1, 1.5, True, "half", None])
def test_thresholds_are_shares(value):
    with pytest.raises(ValueError, match="covered must be a number from 0 to 1"):
        AdmissionRule(covered=value)
