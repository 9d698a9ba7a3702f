from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sam2_hf.training.prompting.distance import deepest_points, squared_depth


def regions_of(seed, count=3, height=17, width=23, fill=0.7):
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed)) < fill


def by_all_pairs(region):
    """Squared depths (H, W) from the distances of every pixel to every pixel outside, also beyond the image."""
    padded = np.pad(region.numpy(), 1)
    depth = np.zeros(padded.shape, np.int64)
    inside, outside = np.argwhere(padded), np.argwhere(~padded)
    if len(inside):
        depth[tuple(inside.T)] = cdist(inside, outside, "sqeuclidean").min(axis=1)
    return depth[1:-1, 1:-1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.7, 0.97, 1.0]), st.integers(1, 30), st.integers(1, 30))
def test_equals_the_distances_of_all_pairs_of_pixels(seed, fill, height, width):
    regions = regions_of(seed, 2, height, width, fill)
    for region, depth in zip(regions, squared_depth(regions), strict=True):
        assert np.array_equal(depth.numpy(), by_all_pairs(region))


@pytest.mark.parametrize("side", [1, 2, 999, 1500])
def test_the_depth_of_large_regions_is_a_whole_number(side):
    depth = squared_depth(torch.ones(1, side, side, dtype=torch.bool))
    assert depth.dtype == torch.int64
    assert int(depth.max()) == ((side + 1) // 2) ** 2


@pytest.mark.parametrize("fill", [0.0, 0.5, 0.95])
def test_the_deepest_point_is_the_first_of_the_deepest(fill):
    regions = regions_of(1, fill=fill)
    points, depth = deepest_points(regions)
    for region, (x, y), found in zip(regions, points.tolist(), depth.tolist(), strict=True):
        expected = by_all_pairs(region)
        assert found == expected.max()
        assert y * region.shape[1] + x == expected.argmax()


def test_no_regions_at_all():
    points, depth = deepest_points(torch.zeros(0, 4, 5, dtype=torch.bool))
    assert points.shape == (0, 2)
    assert depth.shape == (0,)
    assert squared_depth(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4, 5)


def test_names_the_extra_that_installs_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(ImportError, match=r"sam2-hf\[train\]"):
        squared_depth(torch.ones(1, 3, 3, dtype=torch.bool))
