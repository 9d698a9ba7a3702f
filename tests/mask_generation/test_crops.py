"""Crops cover the image as the published layout says, and grids cover crops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_hf.mask_generation.crops import crop_layers, point_grid


def test_layer_zero_is_the_whole_image():
    (crop,) = crop_layers((30, 40), 0, 0.3)
    assert crop == (0, 0, 40, 30, 0)
    assert crop.size == (30, 40)


def test_two_layers_of_a_known_image():
    crops = crop_layers((1200, 1800), 2, 512 / 1500)
    assert [crop.layer for crop in crops] == [0] + [1] * 4 + [2] * 16
    # overlap int(512 / 1500 * 1200) = 409, so a crop is ceil((1800 + 409) / 2) by ceil((1200 + 409) / 2)
    assert [crop[:4] for crop in crops[1:5]] == [
        (0, 0, 1105, 805),
        (0, 396, 1105, 1200),
        (696, 0, 1800, 805),
        (696, 396, 1800, 1200),
    ]
    assert crops[4].size == (804, 1104)


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    layers=st.integers(0, 3),
    overlap=st.floats(0, 0.99),
)
def test_every_layer_covers_every_pixel_with_crops_that_have_some(size, layers, overlap):
    crops = crop_layers(size, layers, overlap)
    for layer in range(layers + 1):
        seen = np.zeros(size, dtype=int)
        for left, top, right, bottom, of_layer in crops:
            assert 0 <= left < right <= size[1]
            assert 0 <= top < bottom <= size[0]
            seen[top:bottom, left:right] += of_layer == layer
        assert seen.all()


@pytest.mark.peers
@pytest.mark.parametrize("size", [(1200, 1800), (719, 333), (64, 64)])
def test_crops_equal_the_official_ones(size):
    amg = pytest.importorskip("sam2.utils.amg")
    boxes, layers = amg.generate_crop_boxes(size, 2, 512 / 1500)
    ours = crop_layers(size, 2, 512 / 1500)
    assert [list(crop[:4]) for crop in ours] == boxes
    assert [crop.layer for crop in ours] == layers


def test_grid_points_are_cell_centres():
    assert point_grid(1).tolist() == [[0.5, 0.5]]
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert point_grid(32).shape == (1024, 2)
    np.testing.assert_allclose(point_grid(7).mean(0), [0.5, 0.5], rtol=1e-6)
