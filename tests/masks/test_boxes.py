"""Boxes and suppression against plain loops and torchvision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sam2_hf.masks.boxes import mask_to_box, nms


@settings(max_examples=100, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=4, max_side=7)))
def test_boxes_are_tight_and_inclusive(masks):
    masks = torch.from_numpy(masks)
    boxes = mask_to_box(masks)
    assert boxes.shape == (*masks.shape[:-2], 4)
    for mask, box in zip(masks.flatten(0, -3) if masks.ndim > 2 else masks[None], boxes.view(-1, 4), strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [0, 0, 0, 0]
        assert box.tolist() == [int(edge) for edge in expected]


def test_no_masks_have_no_boxes():
    assert mask_to_box(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4)
    assert mask_to_box(torch.zeros(2, 0, 5, dtype=torch.bool)).tolist() == [[0, 0, 0, 0]] * 2


def test_boxes_of_a_transposed_view():
    masks = torch.zeros(1, 4, 6, dtype=torch.bool)
    masks[0, 1, 2:5] = True
    assert mask_to_box(masks.mT).tolist() == [[1, 2, 1, 4]]


def greedy(boxes, scores, threshold, categories):
    """Suppression pair by pair in exact integers: IoU > threshold written without a division."""
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        a = boxes[index]
        for other in kept:
            b = boxes[other]
            sides = [min(a[2 + i], b[2 + i]) - max(a[i], b[i]) for i in (0, 1)]
            overlap = max(sides[0], 0) * max(sides[1], 0)
            union = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - overlap
            if categories[index] == categories[other] and overlap > threshold * union:
                break
        else:
            kept.append(index)
    return kept


@st.composite
def scored_boxes(draw):
    count = draw(st.integers(0, 12))
    corner, side = st.integers(0, 8), st.integers(1, 8)
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (draw(st.tuples(corner, corner, side, side)) for _ in range(count))]
    return boxes, [draw(st.integers(0, 4)) / 4 for _ in boxes], [draw(st.integers(0, 1)) for _ in boxes]


@settings(max_examples=200, deadline=None)
@given(scored_boxes(), st.sampled_from([0.25, 0.5, 0.75]))
def test_nms_equals_the_loop_over_pairs(case, threshold):
    boxes, scores, categories = case
    kept = nms(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(scores),
        threshold,
        torch.tensor(categories),
    )
    assert kept.tolist() == greedy(boxes, scores, threshold, categories)


def test_lines_one_pixel_wide_suppress_their_copies_only():
    boxes = torch.tensor([[3, 0, 3, 9], [3, 0, 3, 9], [4, 0, 4, 9], [3, 0, 3, 4], [3, 1, 3, 9]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.8, 0.7, 0.6]), 0.7).tolist() == [1, 2, 3]


def test_nms_of_nothing_is_nothing():
    kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.7)
    assert kept.dtype == torch.int64
    assert kept.shape == (0,)


def test_nms_refuses_shapes_that_do_not_match():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2,\)"):
        nms(torch.zeros(3, 4), torch.zeros(2), 0.5)


@pytest.mark.peers
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7, 0.9])
def test_nms_equals_torchvision(threshold):
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 60, (400, 2), generator=generator)
    boxes = torch.cat([corners, corners + torch.randint(1, 60, (400, 2), generator=generator)], dim=1).float()
    scores = torch.randint(0, 50, (400,), generator=generator) / 50
    categories = torch.randint(0, 3, (400,), generator=generator)
    assert torch.equal(nms(boxes, scores, threshold), ops.nms(boxes, scores, threshold))
    theirs = ops.boxes._batched_nms_vanilla(boxes, scores, categories, threshold)
    assert set(nms(boxes, scores, threshold, categories).tolist()) == set(theirs.tolist())
