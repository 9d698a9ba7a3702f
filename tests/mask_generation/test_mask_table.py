"""Compressed masks behave as the masks they stand for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_hf.mask_generation.mask_table import OUTPUT_MODES, MaskTable
from sam2_hf.masks.boxes import mask_to_box
from sam2_hf.masks.connected_components import fill_holes, remove_sprinkles
from sam2_hf.masks.rle import mask_run_lengths, rle_to_mask

SIZE = (100, 120)


def table_of(masks, scores=None, crops=None, size=SIZE):
    count = len(masks)
    return MaskTable(
        size,
        mask_run_lengths(masks),
        scores=np.array(np.linspace(0.5, 0.9, count) if scores is None else scores, np.float32),
        stability=np.full(count, 0.75, np.float32),
        points=np.arange(2.0 * count, dtype=np.float32).reshape(count, 2),
        crops=np.array([[0, 0, size[1], size[0]]] * count if crops is None else crops).reshape(count, 4),
    )


def rectangles(*edges):
    masks = torch.zeros(len(edges), *SIZE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, edges, strict=True):
        mask[top : bottom + 1, left : right + 1] = True
    return masks


def decoded(table):
    return torch.stack([rle_to_mask(rle) for rle in table.rles()]) if len(table) else torch.zeros(0, *table.size)


def test_selecting_and_joining_keep_everything_together():
    masks = rectangles((1, 2, 30, 40), (50, 50, 60, 60), (0, 0, 119, 99))
    table = table_of(masks)
    twice = MaskTable.none(SIZE).cat([table, table.select(np.array([2, 0]))])
    assert torch.equal(decoded(twice), masks[[0, 1, 2, 2, 0]])
    assert np.array_equal(twice.boxes(), mask_to_box(masks)[[0, 1, 2, 2, 0]].numpy())
    assert np.array_equal(twice.scores, table.scores[[0, 1, 2, 2, 0]])
    assert np.array_equal(twice.points, table.points[[0, 1, 2, 2, 0]])


def test_no_masks_pass_through_everything():
    table = MaskTable.none(SIZE).without_empty().without_cut_off().without_duplicates(0.5)
    table = table.cleaned(3, 3).without_small_regions(10, 0.5)
    assert len(table) == 0
    assert table.boxes().shape == (0, 4)
    assert table.crop_areas().shape == (0,)
    assert table.records("coco_rle") == []


def test_empty_masks_are_dropped():
    masks = torch.stack([torch.zeros(SIZE), torch.ones(SIZE)]).bool()
    assert table_of(masks).without_empty().scores.tolist() == pytest.approx([0.9])


def test_masks_at_a_crops_edge_are_dropped_but_not_those_at_the_images():
    crop = [30, 0, 120, 100]
    edges = {
        (51, 30, 80, 60): True,  # 21 from the left edge
        (50, 30, 80, 60): False,  # 20 from it
        (60, 0, 119, 99): True,  # at the image's edges
        (31, 0, 119, 99): False,  # at those, and at the crop's own
    }
    table = table_of(rectangles(*edges), crops=[crop] * len(edges)).without_cut_off()
    assert [tuple(box) for box in table.boxes().tolist()] == [edge for edge, stays in edges.items() if stays]


def test_masks_of_the_whole_image_are_never_cut_off():
    table = table_of(rectangles((0, 0, 119, 99), (5, 5, 10, 10)))
    assert len(table.without_cut_off()) == 2


def test_of_duplicates_the_best_stays_best_first():
    table = table_of(rectangles((0, 0, 50, 50), (0, 0, 50, 49), (60, 60, 90, 90)), scores=[0.6, 0.7, 0.9])
    assert table.without_duplicates(0.7).scores.tolist() == pytest.approx([0.9, 0.7])
    assert table.without_duplicates(0.7, np.array([3.0, 2.0, 1.0])).scores.tolist() == pytest.approx([0.6, 0.9])


def test_duplicates_by_masks_are_not_those_by_boxes():
    frame, inside = rectangles((0, 0, 60, 60), (1, 1, 59, 59))
    ring = frame & ~inside
    table = table_of(torch.stack([ring, inside, frame]), scores=[0.9, 0.8, 0.7])
    assert table.without_duplicates(0.7).scores.tolist() == pytest.approx([0.9])
    assert table.without_duplicates(0.7, by="mask").scores.tolist() == pytest.approx([0.9, 0.8])
    assert table.without_duplicates(0.99, by="mask").scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_crop_areas():
    table = table_of(rectangles((0, 0, 1, 1)), crops=[[10, 20, 40, 25]])
    assert table.crop_areas().tolist() == [150]


def test_cleaning_fills_and_removes_up_to_the_areas():
    mask = rectangles((10, 10, 60, 60))
    mask[0, 20, 20:23] = False  # a hole of 3
    mask[0, 80, 80:84] = True  # an island of 4
    table = table_of(mask)
    assert table.cleaned(0, 0) is table
    assert torch.equal(decoded(table.cleaned(2, 3)), mask)
    assert torch.equal(decoded(table.cleaned(3, 4)), rectangles((10, 10, 60, 60)))
    without_island = mask.clone()
    without_island[0, 80] = False
    assert torch.equal(decoded(table.cleaned(0, 4)), without_island)


def test_small_regions_go_and_clean_masks_win_against_cleaned_ones():
    masks = rectangles((10, 10, 60, 60), (10, 10, 60, 60), (70, 70, 73, 73))
    masks[0, 20, 20:24] = False  # four pixels: small below five
    table = table_of(masks, scores=[0.9, 0.8, 0.7]).without_small_regions(5, 0.7)
    assert table.scores.tolist() == pytest.approx([0.8, 0.7])
    assert torch.equal(decoded(table), masks[1:])
    exactly = table_of(masks, scores=[0.9, 0.8, 0.7]).without_small_regions(4, 0.7)
    assert torch.equal(decoded(exactly)[0], masks[0])


def test_a_mask_of_small_regions_alone_keeps_its_largest():
    masks = rectangles((10, 10, 12, 12))
    masks[0, 50, 50] = True
    table = table_of(masks).without_small_regions(100, 0.7)
    assert torch.equal(decoded(table), rectangles((10, 10, 12, 12)))


@pytest.mark.parametrize("mode", OUTPUT_MODES)
def test_records_say_what_the_masks_are(mode):
    masks = rectangles((3, 5, 30, 40))
    (record,) = table_of(masks, scores=[0.875], crops=[[2, 4, 70, 90]]).records(mode, tolerance=0)
    assert record["area"] == masks.sum()
    assert record["bbox"] == [3, 5, 27, 35]
    assert record["crop_box"] == [2, 4, 68, 86]
    assert record["predicted_iou"] == 0.875
    assert record["stability_score"] == 0.75
    assert record["point_coords"] == [[0.0, 1.0]]
    segmentation = record["segmentation"]
    if mode == "binary_mask":
        assert isinstance(segmentation, np.ndarray)
        assert np.array_equal(segmentation, masks[0].numpy())
    elif mode == "polygons":
        (polygon,) = segmentation
        assert polygon.area == masks.sum() and polygon.holes == []
    else:
        kinds = {"coco_rle": str, "run_lengths": np.ndarray}
        assert isinstance(segmentation["counts"], kinds.get(mode, list))
        assert torch.equal(rle_to_mask(segmentation), masks[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 200), st.integers(0, 60), st.booleans())
def test_cleaning_the_box_of_a_mask_is_cleaning_the_mask(seed, hole, sprinkle, keep_largest):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(3, 24, 2))
    masks = torch.from_numpy(rng.random((3, *size)) < rng.choice([0.05, 0.4, 0.6, 0.95]))
    cleaned = table_of(masks, size=size).cleaned(hole, sprinkle, keep_largest)
    expected = remove_sprinkles(fill_holes(masks, hole), sprinkle, keep_largest=keep_largest)
    if hole == sprinkle == 0:
        expected = masks
    assert torch.equal(decoded(cleaned), expected)
