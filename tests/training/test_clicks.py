from __future__ import annotations

import pytest
import torch

from sam2_hf.prompt_values import PAD_VALUE
from sam2_hf.training.prompting.clicks import correct, draw_box, first_click

SIZE = (20, 30)


def rectangle(top, left, bottom, right):
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


TRUTH = torch.stack([rectangle(2, 3, 12, 13), rectangle(5, 20, 15, 30)])
NOTHING = torch.zeros_like(TRUTH)


def pixels_hit(clicks):
    """The pixel of each object's only click."""
    assert clicks.points.shape == (len(clicks.labels), 1, 2)
    return [(int(y), int(x)) for (x, y) in clicks.points[:, 0].tolist()]


@pytest.mark.parametrize("where", ["uniform", "centre"])
def test_the_first_click_is_on_the_object(where):
    torch.manual_seed(0)
    for _ in range(20):
        clicks = first_click(TRUTH, where=where)
        assert clicks.labels.tolist() == [[1], [1]]
        assert all(mask[hit] for mask, hit in zip(TRUTH, pixels_hit(clicks), strict=True))


def test_uniform_clicks_reach_every_pixel_of_the_error_equally():
    torch.manual_seed(0)
    truth = rectangle(4, 4, 6, 7).expand(6000, -1, -1)
    hits = torch.zeros(SIZE)
    for row, column in pixels_hit(first_click(truth)):
        hits[row, column] += 1
    inside = hits[4:6, 4:7]
    assert inside.sum() == 6000
    assert ((inside - 1000).abs() < 150).all()  # five standard deviations


def test_the_centre_is_the_middle_of_the_largest_error():
    predicted = torch.stack([rectangle(2, 3, 12, 5), rectangle(0, 20, 15, 30)])
    clicks = correct(TRUTH, predicted, where="centre")
    # Missing: rows 2 to 11, columns 5 to 12. Too much: rows 0 to 4, columns 20 to 29.
    assert pixels_hit(clicks) == [(5, 8), (2, 22)]
    assert clicks.labels.tolist() == [[1], [0]]


@pytest.mark.parametrize("where", ["uniform", "centre"])
def test_corrections_go_into_errors_and_say_what_is_there(where):
    torch.manual_seed(1)
    predicted = torch.stack([rectangle(2, 3, 12, 11), rectangle(5, 14, 15, 30)])
    for _ in range(20):
        clicks = correct(TRUTH, predicted, where=where)
        assert clicks.labels.tolist() == [[1], [0]]
        for mask, guess, hit in zip(TRUTH, predicted, pixels_hit(clicks), strict=True):
            assert mask[hit] != guess[hit]


@pytest.mark.parametrize("where", ["uniform", "centre"])
def test_a_perfect_mask_gets_a_click_on_the_background(where):
    clicks = correct(TRUTH, TRUTH, where=where)
    assert clicks.labels.tolist() == [[0], [0]]
    assert not any(mask[hit] for mask, hit in zip(TRUTH, pixels_hit(clicks), strict=True))


@pytest.mark.parametrize("where", ["uniform", "centre"])
def test_an_absent_object_gets_a_click_on_the_background(where):
    assert first_click(NOTHING, where=where).labels.tolist() == [[0], [0]]


@pytest.mark.parametrize("where", ["uniform", "centre"])
def test_an_object_without_background_is_clicked_even_if_perfect(where):
    everything = torch.ones_like(TRUTH)
    assert correct(everything, everything, where=where).labels.tolist() == [[1], [1]]


@pytest.mark.parametrize("where", ["uniform", "centre"])
def test_unknown_pixels_are_no_errors(where):
    torch.manual_seed(2)
    known = torch.ones_like(TRUTH)
    known[0, :, 7:] = False
    for _ in range(20):
        row, column = pixels_hit(first_click(TRUTH, known, where))[0]
        assert column < 7
        assert TRUTH[0, row, column]


def test_clicks_follow_one_another():
    first, second = first_click(TRUTH), correct(TRUTH, TRUTH)
    both = first.followed_by(second)
    assert both.points.shape == (2, 2, 2)
    assert torch.equal(both.points[:, 1:], second.points)
    assert both.labels.tolist() == [[1, 0], [1, 0]]


def test_a_box_without_noise_is_tight():
    box = draw_box(TRUTH, noise=0.0)
    assert box.points.tolist() == [[[3, 2], [12, 11]], [[20, 5], [29, 14]]]
    assert box.labels.tolist() == [[2, 3], [2, 3]]


def test_boxes_miss_by_a_tenth_of_their_sides_and_stay_in_the_image():
    torch.manual_seed(0)
    tight = draw_box(TRUTH, noise=0.0).points
    boxes = torch.stack([draw_box(TRUTH).points for _ in range(200)])
    off = (boxes - tight).abs()
    assert 0.8 < off.max() <= 0.1 * 9 + 1e-5
    assert boxes.min() >= 0
    assert boxes[..., 0].max() <= SIZE[1] - 1


def test_the_noise_of_large_boxes_is_limited():
    torch.manual_seed(0)
    large = torch.zeros(1, 500, 500, dtype=torch.bool)
    large[:, 50:450, 50:450] = True
    off = torch.stack([draw_box(large).points - torch.tensor([[[50, 50], [449, 449]]]) for _ in range(100)])
    assert 19 < off.abs().max() <= 20


def test_an_absent_object_gets_a_background_click_in_place_of_a_box():
    prompt = draw_box(torch.stack([TRUTH[0], NOTHING[0]]))
    assert prompt.labels.tolist() == [[2, 3], [0, PAD_VALUE]]
    assert prompt.points[1, 1].tolist() == [PAD_VALUE, PAD_VALUE]
