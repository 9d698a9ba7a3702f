from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sam2_hf.training.prompting.interaction import Interaction, evaluation_plan, plan_interaction


def plans(interaction=None, num_frames=8, count=2000, seed=0):
    rng = np.random.default_rng(seed)
    return [plan_interaction(interaction or Interaction(), num_frames, rng) for _ in range(count)]


def test_first_prompts_are_half_masks_a_quarter_clicks_a_quarter_boxes():
    first = Counter(plan.first_frames[0] for plan in plans())
    assert set(first) == {"mask", "click", "box"}
    for kind, share in {"mask": 0.5, "click": 0.25, "box": 0.25}.items():
        assert abs(first[kind] / 2000 - share) < 0.04


def test_one_or_two_frames_are_prompted_the_first_always():
    counts = Counter(len(plan.first_frames) for plan in plans())
    assert set(counts) == {1, 2}
    assert abs(counts[1] / 2000 - 0.5) < 0.05
    assert all(min(plan.first_frames) == 0 for plan in plans())
    assert {max(plan.first_frames) for plan in plans()} == set(range(8))


def test_masks_are_not_corrected_and_other_prompts_are_on_their_own_frames_too():
    for plan in plans(count=300):
        if "mask" in plan.first_frames.values():
            assert set(plan.first_frames.values()) == {"mask"}
            assert plan.corrected == {}
        else:
            assert set(plan.first_frames) <= set(plan.corrected)
            assert len(plan.corrected) <= 2
            assert all(len(clicks) == 7 for clicks in plan.corrected.values())


def test_frames_that_were_not_prompted_get_corrections_at_times():
    assert any(set(plan.corrected) - set(plan.first_frames) for plan in plans(count=100))


def test_a_tenth_of_the_corrections_is_blind():
    flags = [flag for plan in plans() for clicks in plan.corrected.values() for flag in clicks]
    assert abs(np.mean(flags) - 0.1) < 0.02


def test_a_single_image_gets_a_click_or_a_box():
    kinds = Counter(plan.first_frames[0] for plan in plans(num_frames=1))
    assert set(kinds) == {"click", "box"}
    assert abs(kinds["click"] / 2000 - 0.5) < 0.05
    assert all(set(plan.first_frames) == {0} == set(plan.corrected) for plan in plans(num_frames=1, count=50))


@pytest.mark.parametrize("num_frames", [2, 3])
def test_masks_are_never_given_on_all_frames(num_frames):
    """A clip whose masks are all given has nothing to learn."""
    interaction = Interaction(mask=1.0, click=0.0, max_first_frames=3)
    drawn = {len(plan.first_frames) for plan in plans(interaction, num_frames=num_frames, count=100)}
    assert drawn == set(range(1, num_frames))


@pytest.mark.parametrize(
    "interaction", [Interaction(corrections=0), Interaction(max_corrected_frames=0), Interaction(mask=1.0, click=0.0)]
)
def test_corrections_can_be_left_out(interaction):
    assert all(plan.corrected == {} for plan in plans(interaction, count=50))


def test_the_same_seed_gives_the_same_plans():
    assert plans(count=20, seed=3) == plans(count=20, seed=3)
    assert plans(count=20, seed=3) != plans(count=20, seed=4)


def test_evaluation_clicks_into_the_centre_of_the_first_frame():
    plan = evaluation_plan("click", corrections=2)
    assert (plan.first_frames, plan.corrected, plan.where) == ({0: "click"}, {0: (False, False)}, "centre")
    assert evaluation_plan("mask", corrections=2).corrected == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask": 1.5}, "mask must be a probability, got 1.5"),
        ({"mask": 0.8, "click": 0.5}, "add up to 1 at most, got 0.8 and 0.5"),
        ({"max_first_frames": 0}, "max_first_frames must be at least 1, got 0"),
        ({"corrections": -1}, "corrections must not be negative, got -1"),
    ],
)
def test_names_the_setting_that_makes_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        Interaction(**settings)
