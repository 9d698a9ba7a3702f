import numpy as np
import pytest
import torch
from drawn_results import disc
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from sam2_hf import mask_to_polygons
from sam2_hf.masks.polygons import ring_area, rle_to_polygons
from sam2_hf.masks.rle import mask_to_rle


def inside(ring, rows, columns):
    """Whether the middles of pixels lie within a ring, by the number of its edges to the right of them."""
    crossings = np.zeros(rows.shape, int)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        spans = (rows + 0.5 >= min(y0, y1)) & (rows + 0.5 < max(y0, y1))
        crossings += spans & (x0 + (rows + 0.5 - y0) / (y1 - y0) * (x1 - x0) > columns + 0.5)
    return crossings % 2 == 1


def filled(polygons, size):
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = np.zeros(size, bool)
    for polygon in polygons:
        part = inside(polygon.exterior, rows, columns)
        for hole in polygon.holes:
            part &= ~inside(hole, rows, columns)
        assert not (mask & part).any()
        mask |= part
    return mask


def blobs(seed, size=(70, 90)):
    draw = np.random.default_rng(seed)
    return ndimage.gaussian_filter(draw.normal(size=size), draw.uniform(1.5, 8)) > 0


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_an_exact_outline_fills_to_the_mask(mask):
    polygons = mask_to_polygons(mask, tolerance=0)
    assert np.array_equal(filled(polygons, mask.shape), mask)
    assert sum(polygon.area for polygon in polygons) == mask.sum()
    assert len(polygons) == ndimage.label(mask)[1]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_a_simplified_outline_is_the_mask_but_for_a_hundredth(seed, tolerance):
    mask = blobs(seed)
    found = filled(mask_to_polygons(mask, tolerance), mask.shape)
    assert (found & mask).sum() / (found | mask).sum() >= 0.99


def test_a_simplified_outline_has_few_points_within_its_tolerance():
    mask = disc(300, 200, 150, (400, 600))
    (polygon,) = mask_to_polygons(mask, tolerance=1.0)
    (exact,) = mask_to_polygons(mask, tolerance=0)
    assert len(polygon.exterior) < 50 < 500 < len(exact.exterior)
    distance = np.hypot(*(polygon.exterior - (300, 200)).T)
    assert np.abs(distance - 150).max() < 1.5


def test_holes_belong_to_the_part_around_them_and_islands_stand_alone():
    mask = disc(40, 40, 30) & ~disc(40, 40, 18) | disc(40, 40, 8) | disc(105, 50, 12)
    polygons = mask_to_polygons(mask, tolerance=0)
    assert [len(polygon.holes) for polygon in polygons] == [1, 0, 0]
    assert [polygon.area for polygon in polygons] == sorted((polygon.area for polygon in polygons), reverse=True)
    assert ring_area(polygons[0].exterior) > 0 > ring_area(polygons[0].holes[0])


def test_a_pixel_is_a_square():
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    for tolerance in (0, 1):
        (polygon,) = mask_to_polygons(torch.from_numpy(mask), tolerance)
        assert sorted(map(tuple, polygon.exterior.tolist())) == [(3, 2), (3, 3), (4, 2), (4, 3)]


def test_an_empty_mask_has_no_polygons():
    assert mask_to_polygons(np.zeros((4, 4), bool)) == []


@pytest.mark.parametrize(
    ("mask", "tolerance", "message"),
    [
        (np.zeros((1, 4, 4), bool), 1, r"\(height, width\), got shape \(1, 4, 4\)"),
        (np.ones((4, 4), bool), -1, "0 or above, got -1"),
        (np.ones((4, 4), bool), float("nan"), "0 or above, got nan"),
    ],
)
def test_refuses_what_is_no_mask_or_tolerance(mask, tolerance, message):
    with pytest.raises(ValueError, match=message):
        mask_to_polygons(mask, tolerance)


@pytest.mark.parametrize("tolerance", [0, 1.0])
def test_run_lengths_are_traced_as_the_mask_is(tolerance):
    mask = np.zeros((40, 60), bool)
    mask[5:30, 20:50] = True
    mask[10:20, 25:40] = False
    mask[35:, 3:9] = True
    (rle,) = mask_to_rle(mask[None])
    traced, expected = rle_to_polygons(rle, tolerance), mask_to_polygons(mask, tolerance)
    assert len(traced) == len(expected) == 2
    for one, other in zip(traced, expected, strict=True):
        for ring, wanted in zip((one.exterior, *one.holes), (other.exterior, *other.holes), strict=True):
            assert np.array_equal(ring, wanted)
    (empty,) = mask_to_rle(np.zeros((1, 4, 5), bool))
    assert rle_to_polygons(empty, tolerance) == []
