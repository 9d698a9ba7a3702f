"""Masks and prompts on images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sam2_hf.masks.drawing import draw_prompts, overlay_masks, palette

GREY = Image.new("RGB", (12, 8), (100, 100, 100))
RED, BLUE = (255, 0, 0), (0, 0, 255)


def _square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((8, 12), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_mask_is_blended_and_all_else_untouched():
    mask = _square(1, 1, 5)
    drawn = np.asarray(overlay_masks(GREY, [mask], colours=[RED], opacity=0.5, outline=False))
    assert (drawn[mask] == [178, 50, 50]).all()
    assert (drawn[~mask] == 100).all()


def test_outline_is_the_masks_outermost_ring():
    drawn = np.asarray(overlay_masks(GREY, [_square(1, 1, 5)], colours=[RED]))
    ring = _square(1, 1, 5) & ~_square(2, 2, 3)
    assert (drawn[ring] == RED).all()
    assert (drawn[_square(2, 2, 3)] == [178, 50, 50]).all()


def test_outline_follows_the_edge_of_the_image():
    drawn = np.asarray(overlay_masks(GREY, [np.ones((8, 12), dtype=bool)], colours=[RED]))
    assert (drawn[0] == RED).all() and (drawn[:, -1] == RED).all()
    assert (drawn[1:-1, 1:-1] == [178, 50, 50]).all()


def test_small_mask_stays_visible_whatever_the_order():
    small, large = _square(3, 3, 2), _square(1, 1, 6)
    one = overlay_masks(GREY, [small, large], colours=[RED, BLUE], opacity=1.0)
    other = overlay_masks(GREY, [large, small], colours=[BLUE, RED], opacity=1.0)
    assert np.array_equal(one, other)
    assert one.getpixel((3, 3)) == RED


def test_tensors_lists_and_arrays_are_the_same():
    masks = np.stack([_square(0, 0, 3), _square(2, 5, 4)])
    expected = overlay_masks(GREY, masks)
    assert np.array_equal(overlay_masks(GREY, torch.from_numpy(masks)), expected)
    assert np.array_equal(overlay_masks(GREY, list(masks.astype(np.uint8))), expected)


def test_no_masks_give_the_image_and_the_original_is_never_changed():
    assert np.array_equal(overlay_masks(GREY, np.zeros((0, 8, 12), dtype=bool)), GREY)
    before = np.asarray(GREY).copy()
    overlay_masks(GREY, [_square(0, 0, 5)])
    draw_prompts(GREY, points=[(3, 3)])
    assert np.array_equal(GREY, before)


def test_grey_and_transparent_images_can_be_drawn_on():
    for mode in ("L", "RGBA", "P"):
        assert overlay_masks(GREY.convert(mode), [_square(0, 0, 3)]).mode == "RGB"


def test_wrong_size_and_too_few_colours_are_refused():
    with pytest.raises(ValueError, match=r"masks\[1\].*\(8, 12\).*\(12, 8\)"):
        overlay_masks(GREY, [_square(0, 0, 3), _square(0, 0, 3).T])
    with pytest.raises(ValueError, match="each of the 2 masks, got 1"):
        overlay_masks(GREY, [_square(0, 0, 3)] * 2, colours=[RED])


def test_clicks_show_their_label_and_padding_is_not_drawn():
    image = Image.new("RGB", (400, 320), (100, 100, 100))
    drawn = draw_prompts(
        image, points=[(50, 50), (200, 50), (300, 250)], labels=[1, 0, -10], boxes=[(80, 90, 160, 200)]
    )
    red, green, _ = drawn.getpixel((50, 50))
    assert green > red
    red, green, _ = drawn.getpixel((200, 50))
    assert red > green
    assert drawn.getpixel((300, 250)) == (100, 100, 100)
    assert drawn.getpixel((80, 150)) != (100, 100, 100) and drawn.getpixel((120, 150)) == (100, 100, 100)


@given(st.integers(0, 60), st.integers(0, 60))
def test_palette_is_a_prefix_of_any_longer_one(short, long):
    short, long = sorted((short, long))
    assert palette(long)[:short] == palette(short)
    assert len(set(palette(long))) == long
