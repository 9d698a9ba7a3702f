from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sam2_hf.training.synthetic.draws import Draws
from sam2_hf.training.synthetic.shapes import OUTLINES, WALL_HALF, draw_outline, draw_wall
from sam2_hf.training.synthetic.textures import PATTERNS, draw_colours, draw_texture

SIZE = 64


def outline(name, seed, size=SIZE):
    middle = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    return OUTLINES[name](Draws(seed), middle[None, :], middle[:, None])


@pytest.mark.parametrize("name", OUTLINES)
@pytest.mark.parametrize("seed", range(4))
def test_shapes_fill_a_sensible_part_of_their_disc(name, seed):
    field = outline(name, seed)
    assert field.shape == (SIZE, SIZE)
    assert field.dtype == np.float32
    y, x = np.indices((SIZE, SIZE)) * (2 / SIZE) + (1 / SIZE - 1)
    inside = (field > 0) & (x * x + y * y < 1)
    assert 0.08 < inside.mean() < 0.8


@pytest.mark.parametrize(
    ("name", "pieces", "holes"), [("ring", 1, 1), ("ellipse", 1, 0), ("star", 1, 0), ("bar", 1, 0)]
)
def test_shapes_are_what_they_are_called(name, pieces, holes):
    inside = outline(name, 0) > 0
    assert ndimage.label(inside, np.ones((3, 3)))[1] == pieces
    assert ndimage.label(~inside)[1] == 1 + holes


def test_stars_have_four_to_seven_spikes():
    counts = set()
    for seed in range(20):
        inside = outline("star", seed, size=200) > 0
        y, x = np.indices(inside.shape) - 99.5
        counts.add(ndimage.label(inside & (np.hypot(x, y) > 75), np.ones((3, 3)))[1])
    assert counts == {4, 5, 6, 7}


@pytest.mark.parametrize("seed", range(20))
def test_outlines_end_within_the_unit_disc(seed):
    field = draw_outline(Draws(seed), SIZE)
    y, x = np.indices((SIZE, SIZE)) * (2 / SIZE) + (1 / SIZE - 1)
    assert (field[x * x + y * y > 1.001] < 0).all()


def test_walls_have_the_sides_that_are_promised():
    inside = draw_wall(Draws(0), 200) > 0
    columns, rows = inside.any(axis=0).sum() / 200, inside.any(axis=1).sum() / 200
    assert columns == pytest.approx(WALL_HALF[0], abs=0.08)
    assert rows == pytest.approx(WALL_HALF[1], abs=0.08)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_lie_between_their_colours(name):
    for seed in range(3):
        pattern = PATTERNS[name](Draws(seed), SIZE)
        assert pattern.shape == (SIZE, SIZE)
        assert pattern.dtype == np.float32
        assert pattern.min() >= -0.25  # a gradient across the diagonal goes a little beyond
        assert pattern.max() <= 1.25
        assert (pattern.std() > 0.05) == (name != "plain")


def test_textures_are_made_of_their_colours():
    red, blue = np.array([255, 0, 0], np.float32), np.array([0, 0, 255], np.float32)
    for seed in range(5):
        texture = draw_texture(Draws(seed), SIZE, (red, blue))
        assert texture.shape == (3, SIZE, SIZE)
        green = texture[1]
        assert np.abs(green).max() <= 31  # grain alone
        np.testing.assert_allclose(texture[0] + texture[2] - 2 * green, 255, atol=0.01)


def test_colours_keep_away_from_the_backdrop():
    backdrop = np.full(3, 128, np.float32)
    near = [np.abs(draw_colours(Draws(seed))[0] - backdrop).sum() for seed in range(200)]
    away = [np.abs(draw_colours(Draws(seed), backdrop)[0] - backdrop).sum() for seed in range(200)]
    assert np.mean(away) > np.mean(near) + 30
