import numpy as np
import pytest

from sam2_hf.app.everything_work import EverythingWork
from sam2_hf.app.image_work import ImageWork
from sam2_hf.app.objects import ObjectList


@pytest.fixture
def work(segmenter, world):
    return ImageWork(segmenter, world.first)


def test_clicks_give_what_the_segmenter_gives(work, segmenter, world):
    a, b = world.points[:2]
    work.add_point(*a)
    expected = segmenter.segment(world.first, points=a)
    assert np.array_equal(work.mask(1), expected.masks[0]) and work.mask(1).any()
    assert work.score(1) == expected.scores[0]
    work.add_point(*b, 0)
    refined = expected.refine(points=b, labels=0)
    assert np.array_equal(work.mask(1), refined.masks[0])
    assert work.prompt(1).points == (a, b) and work.prompt(1).labels == (1, 0)


def test_a_box_may_be_drawn_from_any_corner(work, segmenter, world):
    box = segmenter.segment(world.first, points=world.points[0]).boxes[0]
    x0, y0, x1, y1 = map(float, box)
    work.add_box(x1, y0, x0, y1)
    assert np.array_equal(work.mask(1), segmenter.segment(world.first, boxes=box).masks[0])
    assert work.prompt(1).box == (x0, y0, x1, y1)


def test_several_objects_have_names_and_colours_and_do_not_change_each_other(work, world):
    work.add_point(*world.points[0])
    first = work.mask(1)
    work.add_object()
    work.add_object()  # the empty one is used again
    work.add_point(*world.points[1])
    work.rename(2, "  a red   cup ")
    assert work.objects.names() == {1: "object 1", 2: "a red cup"}
    assert len(set(work.objects.colours().values())) == 2
    assert np.array_equal(work.mask(1), first) and not np.array_equal(work.mask(2), first)
    result = work.result()
    assert result.names == ["object 1", "a red cup"] and np.array_equal(result["object 1"].mask, first)
    with pytest.raises(ValueError, match="another object has the name"):
        work.rename(1, "a red cup")
    with pytest.raises(ValueError, match="at least one letter"):
        work.rename(1, "  ")


def test_every_step_can_be_undone_and_done_again(work, world):
    def seen():
        return work.objects, {n: work.mask(n).tobytes() for n in work.objects.names() if work.is_prompted(n)}

    steps = [
        lambda: work.add_point(*world.points[0]),
        lambda: work.choose(2),
        lambda: work.add_point(*world.points[1], 0),
        work.add_object,
        lambda: work.add_point(*world.points[2]),
        lambda: work.rename(2, "b"),
        lambda: work.remove(1),
    ]
    states = [seen()]
    for step in steps:
        step()
        states.append(seen())
        assert states[-1] != states[-2]
    for state in reversed(states[:-1]):
        assert work.can_undo
        work.undo()
        assert seen() == state
    assert not work.can_undo
    work.undo()
    for state in states[1:]:
        assert work.can_redo
        work.redo()
        assert seen() == state
    work.undo()
    work.add_object()
    assert not work.can_redo


def test_there_are_three_candidates_after_one_point_and_any_may_be_chosen(work, world):
    work.add_point(*world.points[0])
    size = world.first.height, world.first.width
    masks = work.candidates(1, size)
    assert [chosen for *_, chosen in masks].count(True) == 1 and len(masks) == 3
    for index, (mask, score, _) in enumerate(masks):
        work.choose(index)
        assert np.array_equal(work.mask(1), mask) and work.score(1) == pytest.approx(score)
    small = work.candidates(1, (64, 64))
    assert small[2][2] and small[0][0].shape == (64, 64)
    work.add_point(*world.points[0])
    assert len(work.candidates(1, size)) == 1


def test_what_cannot_be_done_changes_nothing(work, world):
    with pytest.raises(ValueError, match="first point must be on the object"):
        work.add_point(*world.points[0], 0)
    with pytest.raises(ValueError, match="outside of the image of 512 x 512"):
        work.add_point(600, 3)
    with pytest.raises(KeyError, match="no mask yet"):
        work.choose(0)
    with pytest.raises(KeyError, match="no object 7"):
        work.select(7)
    with pytest.raises(ValueError, match="click on an object"):
        work.result()
    assert work.objects == ObjectList() and not work.can_undo
    work.add_point(*world.points[0])
    with pytest.raises(IndexError, match="candidate must be 0 to 2"):
        work.choose(5)


def test_objects_are_limited_in_number():
    objects = ObjectList()
    for _ in range(24):
        objects = objects.added()
    with pytest.raises(ValueError, match="at most 24 objects"):
        objects.added()
    assert objects.without(3).added().objects[-1].number == 25


@pytest.mark.parametrize(("iou", "stability"), [(0.5, 0.7), (0.8, 0.9), (0.0, 0.9)])
def test_filtering_everything_gives_what_computing_it_anew_gives(everything, segmenter, world, iou, stability):
    expected = segmenter.segment_everything(
        world.first, points_per_crop=6, pred_iou_thresh=iou, stability_score_thresh=stability
    )
    found = everything.filtered(iou, stability)
    assert found.names == expected.names and np.array_equal(found.masks, expected.masks)
    assert np.array_equal(found.scores, expected.scores) and 0 < len(found) < len(everything)


def test_small_masks_are_filtered_by_their_share_of_the_image(everything):
    found = everything.filtered(0.5, 0.7, area=0.01)
    assert 0 < len(found) < len(everything.filtered(0.5, 0.7)) and (found.areas >= 0.01 * 512 * 512).all()
    assert len(everything.filtered(1.0, 1.0)) == 0


@pytest.fixture(scope="module")
def everything(segmenter, world):
    return EverythingWork(segmenter, world.first, points_per_side=6)
