from dataclasses import replace

import numpy as np
import pytest
from drawn_results import SIZE, drawn_masks, image_result, objects_of, pixels_of
from PIL import Image

from sam2_hf import ImageResult, OverlayStyle
from sam2_hf.results.overlay import STYLES, colours_of
from sam2_hf.results.records import ShownPrompt

PLAIN = {"labels": False, "prompts": False}


def test_a_mask_is_tinted_and_outlined_and_the_rest_is_left_alone():
    result = image_result()
    drawn = np.asarray(result.overlay(contour=1, **PLAIN)).astype(int)
    (cup, ring), before = result.masks, pixels_of().astype(int)
    assert np.array_equal(drawn[~cup & ~ring], before[~cup & ~ring])
    colour = np.array(colours_of(result.names)["cup"])
    assert np.abs(drawn[60, 30] - (before[60, 30] + colour) / 2).max() <= 1
    assert drawn[60, 10].tolist() == colour.tolist()  # the leftmost pixel of the disc
    assert np.array_equal(drawn[40, 80], before[40, 80])  # within the ring's hole


def test_where_masks_overlap_the_colour_is_that_of_the_smaller_one_and_both_outlines_are_seen():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:60, 10:80] = masks[1, 30:50, 60:90] = True  # the smaller one lies over the right edge of the larger one
    colours = {"large": (255, 0, 0), "small": (0, 0, 255)}
    result = ImageResult(objects_of(masks, ("large", "small")), pixels_of(), SIZE)
    drawn = np.asarray(result.overlay(contour=1, colours=colours, **PLAIN)).astype(int)
    mixed = (pixels_of().astype(int)[40, 70] + np.array(colours["small"])) / 2
    assert np.abs(drawn[40, 70] - mixed).max() <= 1
    assert drawn[40, 79].tolist() == list(colours["large"])  # its edge, within the smaller one
    assert drawn[40, 60].tolist() == list(colours["small"])


def test_outlines_are_as_wide_as_they_are_wanted():
    result = image_result()
    colour = np.array(colours_of(result.names)["cup"])
    for width in (0, 1, 3):
        drawn = np.asarray(result.overlay("contour", contour=width, **PLAIN))
        assert (drawn[60, :60] == colour).all(1).sum() == 2 * width  # at the left and the right


def test_a_spotlight_leaves_the_objects_and_darkens_the_rest():
    result = image_result()
    drawn = np.asarray(result.overlay("spotlight", contour=0, **PLAIN)).astype(int)
    shown = result.masks.any(0)
    assert np.array_equal(drawn[shown], pixels_of()[shown])
    assert (drawn[~shown].max(1) == drawn[~shown].min(1)).all()  # grey
    assert drawn[~shown].mean() < 0.5 * pixels_of()[~shown].mean()


def changed(before, after):
    return (np.asarray(before) != np.asarray(after)).any(2)


def test_names_prompts_and_the_legend_are_drawn_and_can_be_left_out():
    result = image_result()
    bare = result.overlay(**PLAIN)
    assert changed(bare, result.overlay(labels=True, prompts=False)).any()
    assert changed(bare, result.overlay(labels=False, prompts=True))[60, 30]
    legend = changed(bare, result.overlay("legend", prompts=False))
    assert legend[-40:, :60].mean() > 0.3 and not legend[:40].any()


def test_the_box_of_one_object_does_not_hide_the_point_of_another():
    cup, ring = image_result().objects
    cup = replace(cup, prompt=ShownPrompt(points=((30, 60),), labels=(1,)))
    ring = replace(ring, prompt=ShownPrompt(box=(30, 10, 90, 90)))

    def at_the_point(*objects):
        return np.asarray(ImageResult(objects, pixels_of(), SIZE).overlay(labels=False))[58:63, 28:33]

    assert np.array_equal(at_the_point(cup, ring), at_the_point(cup, replace(ring, prompt=None)))


def test_names_stay_within_the_image_and_do_not_hide_each_other():
    masks = np.zeros((4, *SIZE), bool)
    masks[:, :5, -6:] = True  # four objects in one corner
    result = ImageResult(objects_of(masks, ("one", "two", "three", "four")), pixels_of(), SIZE)
    colours = {"one": (255, 0, 0), "two": (0, 255, 0), "three": (0, 0, 255), "four": (255, 255, 0)}
    drawn = np.asarray(result.overlay(fill=0, contour=0, labels=True, prompts=False, colours=colours))
    areas = [(drawn == np.array(colour)).all(2).sum() for colour in colours.values()]
    assert min(areas) > 100


def test_a_name_gives_way_to_another_object_and_to_a_point():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 40:60, 40:80] = masks[1, 10:40, 30:90] = True  # the second lies where the first one's name would stand
    colours = {"one": (255, 0, 0), "two": (0, 255, 0)}
    style = {"fill": 0, "contour": 0, "labels": True, "scores": False, "colours": colours}
    result = ImageResult(objects_of(masks, ("one", "two")), pixels_of(), SIZE)
    drawn = np.asarray(result.overlay(prompts=False, **style))
    name = (drawn == np.array(colours["one"])).all(2)
    assert name.any() and not name[masks[1]].any()
    alone = ImageResult(result.objects[:1], pixels_of(), SIZE)
    usual = (np.asarray(alone.overlay(prompts=False, **style)) == np.array(colours["one"])).all(2)
    (x, y) = np.argwhere(usual)[usual.sum() // 2][::-1].tolist()
    pointed = replace(result.objects[0], prompt=ShownPrompt(((x, y),), (1,)))
    drawn = ImageResult([pointed], pixels_of(), SIZE).overlay(**style)
    assert drawn.getpixel((x, y)) == (46, 204, 113)  # the point is on top of nothing and under nothing


@pytest.mark.parametrize(("count", "named"), [(12, True), (13, False)])
def test_many_objects_have_no_names_unless_they_are_wanted(count, named):
    masks = np.repeat(drawn_masks()[:1], count, axis=0)
    found = [replace(item, name=number) for number, item in enumerate(objects_of(masks, ("x",) * count))]
    result = ImageResult(found, pixels_of(), SIZE)
    without = result.overlay(labels=False)
    assert changed(without, result.overlay()).any() == named
    assert changed(without, result.overlay(labels=True)).any()


def test_colours_are_given_by_name_and_do_not_depend_on_what_is_in_sight():
    both, one = colours_of(["cup", "ring"]), colours_of(["cup"])
    assert both["cup"] == one["cup"] != both["ring"]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_an_image_of_the_same_size(style):
    drawn = image_result().overlay(style)
    assert (drawn.mode, drawn.size) == ("RGB", (SIZE[1], SIZE[0]))
    assert drawn.tobytes() == image_result().overlay(STYLES[style]).tobytes()


def test_a_style_may_be_ones_own():
    drawn = image_result().overlay(OverlayStyle(fill=1.0, contour=0, labels=False, prompts=False))
    assert drawn.getpixel((30, 60)) == colours_of(["cup"])["cup"]


def test_refuses_styles_that_are_not_there():
    with pytest.raises(ValueError, match=r"style must be one of fill, contour, .*, got 'neon'"):
        image_result().overlay("neon")
    with pytest.raises(TypeError, match="a style has no colour; it has fill"):
        image_result().overlay(colour="red")
    with pytest.raises(ValueError, match=r"mask of 'cup' must be of the image's size \(8, 8\), got \(96, 128\)"):
        ImageResult(image_result().objects, np.zeros((8, 8, 3), np.uint8), (8, 8)).overlay()


def test_a_notebook_shows_the_overlay():
    import io

    with Image.open(io.BytesIO(image_result()._repr_png_())) as shown:
        assert shown.convert("RGB").tobytes() == image_result().overlay().tobytes()
