from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from sam2_hf.training.prompting.distance import deepest_points, squared_depth


def regions_of(seed, count=3, height=17, width=23, fill=0.7):
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed)) < fill


def by_scipy(region):
    return distance_transform_edt(np.pad(region.numpy(), 1))[1:-1, 1:-1] ** 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.7, 0.97, 1.0]), st.integers(1, 30), st.integers(1, 30))
def test_equals_the_distance_transform_of_scipy(seed, fill, height, width):
    regions = regions_of(seed, 2, height, width, fill)
    for region, depth in zip(regions, squared_depth(regions), strict=True):
        np.testing.assert_allclose(depth.numpy(), by_scipy(region))


@pytest.mark.parametrize("fill", [0.0, 0.5, 0.95])
def test_the_deepest_point_is_the_first_of_the_deepest(fill):
    regions = regions_of(1, fill=fill)
    points, depth = deepest_points(regions)
    for region, (x, y), found in zip(regions, points.tolist(), depth.tolist(), strict=True):
        expected = by_scipy(region).round().astype(int)
        assert found == expected.max()
        assert y * region.shape[1] + x == expected.argmax()


def test_no_regions_at_all():
    points, depth = deepest_points(torch.zeros(0, 4, 5, dtype=torch.bool))
    assert points.shape == (0, 2)
    assert depth.shape == (0,)
