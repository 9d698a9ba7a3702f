from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from sam2_hf.training.synthetic.draws import Draws
from sam2_hf.training.synthetic.motion import Wall, draw_camera, draw_motion
from sam2_hf.training.synthetic.world import SyntheticVideos

SMALL = {"size": (96, 128), "length": 24}


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def test_a_clip_is_the_same_on_every_machine():
    """These were written down once. If they change, every recorded training and table is of another world."""
    clip = SyntheticVideos(3, seed=0)[2].render(range(0, 40, 8))
    assert (digest(clip.frames), digest(clip.masks)) == ("2111881bad57aca9", "c9def3290386b66e")
    image = SyntheticVideos(10, seed=0, moving=False, objects=(3, 8))[5].render([0])
    assert (digest(image.frames), digest(image.masks)) == ("427ad4836d11ae3e", "6ec4a938b858f83b")


def test_frames_do_not_depend_on_which_others_are_drawn():
    video = SyntheticVideos(5, **SMALL)[3]
    together = video.read(range(24))
    for frame in (0, 7, 23):
        alone = SyntheticVideos(5, **SMALL)[3].read([frame])
        assert np.array_equal(alone.frames[0], together.frames[frame])
        assert np.array_equal(alone.masks[0], together.masks[frame])
        assert np.array_equal(video.image(frame), together.frames[frame])


def test_numbers_seeds_and_splits_are_worlds_of_their_own():
    videos = [
        SyntheticVideos(2, **SMALL)[0],
        SyntheticVideos(2, **SMALL)[1],
        SyntheticVideos(2, seed=1, **SMALL)[0],
        SyntheticVideos(2, split="test", **SMALL)[0],
        SyntheticVideos(2, split="validation", **SMALL)[0],
        SyntheticVideos(2, moving=False, **SMALL)[0],
    ]
    assert len({digest(video.image(0)) for video in videos}) == len(videos)


def test_shapes_and_types():
    clip = SyntheticVideos(1, objects=(3, 3), **SMALL)[0].render([0, 5])
    assert (clip.frames.shape, clip.frames.dtype) == ((2, 96, 128, 3), np.uint8)
    assert (clip.masks.shape, clip.masks.dtype) == ((2, 3, 96, 128), bool)
    assert clip.coverage.shape == clip.visible.shape == (2, 3)


@pytest.mark.parametrize("index", range(12))
def test_every_pixel_belongs_to_one_object_at_most_and_flags_say_who_is_seen(index):
    clip = SyntheticVideos(12, **SMALL)[index].render(range(0, 24, 3))
    assert clip.masks.sum(axis=1).max() <= 1
    assert np.array_equal(clip.visible, clip.masks.any(axis=(2, 3)))
    assert clip.coverage.min() >= 0
    assert clip.coverage.max() <= 1


def test_masks_lie_on_what_differs_from_the_background():
    """An object stands out from its surroundings, on average over many."""
    contrasts = []
    for index in range(30):
        clip = SyntheticVideos(30, moving=False, objects=(1, 1))[index].render([0])
        mask, frame = clip.masks[0, 0], clip.frames[0].astype(float)
        if mask.sum() > 50:
            contrasts.append(np.abs(frame[mask].mean(axis=0) - frame[~mask].mean(axis=0)).sum())
    assert np.mean(contrasts) > 90
    assert np.min(contrasts) > 15


def test_objects_hide_and_come_back_and_leave_and_enter():
    hidden = gone = late = 0
    for index in range(40):
        clip = SyntheticVideos(40)[index].render(range(0, 40, 2))
        for number, seen in enumerate(clip.visible.T):
            visible = np.flatnonzero(seen)
            if not len(visible):
                continue
            inner = ~seen[visible[0] : visible[-1]]
            covered = (clip.coverage[:, number] < 0.5) & (clip.coverage[:, number] > 0)
            hidden += bool(inner.any() and covered.any())
            gone += bool(inner.any() and not covered.any())
            late += bool(visible[0] > 0)
    assert hidden >= 10
    assert gone >= 5
    assert late >= 5


@pytest.mark.parametrize(("distractors", "least", "most"), [(0.0, 0, 0), (0.2, 3, 25), (1.0, 41, 60)])
def test_the_share_of_distractors_is_the_given_one(distractors, least, most):
    alike = 0
    for video in SyntheticVideos(20, objects=(4, 4), distractors=distractors):
        players = [actor.sprite for actor in video.scene.actors]
        alike += len(players) - len({id(sprite) for sprite in players})
    # Of four objects three can be distractors, of those beside a wall two.
    assert least <= alike <= most


def test_objects_move_turn_and_change_their_size():
    moves, sizes = [], []
    for index in range(20):
        clip = SyntheticVideos(20)[index].render([10, 14, 18])
        for number in range(clip.masks.shape[1]):
            masks = clip.masks[:, number]
            if (clip.coverage[:, number] == 1).all() and not masks[:, [0, -1]].any() and not masks[:, :, [0, -1]].any():
                centres = [np.argwhere(mask).mean(axis=0) for mask in masks]
                moves.append(np.linalg.norm(centres[2] - centres[0]))
                sizes.append(masks[2].sum() / masks[0].sum())
    assert len(moves) > 10
    assert 5 < np.median(moves) < 80
    assert np.std(sizes) > 0.03


def test_images_hold_many_objects_that_stand_still():
    videos = SyntheticVideos(10, moving=False, objects=(4, 8))
    assert all(video.num_frames == 1 for video in videos)
    counts = [len(video.masks(0)) for video in videos]
    assert min(counts) >= 2
    assert max(counts) >= 5


def test_masks_of_a_frame_name_those_that_are_seen():
    video = SyntheticVideos(12, **SMALL)[4]
    clip = video.read([6])
    masks = video.masks(6)
    assert set(masks) == set(np.flatnonzero(clip.masks[0].any(axis=(1, 2))))
    for number, mask in masks.items():
        assert np.array_equal(mask, clip.masks[0, number])


def test_a_clip_takes_well_under_fifty_milliseconds():
    videos = SyntheticVideos(20)

    def seconds(index):
        start = time.perf_counter()
        videos[index].read(range(0, 40, 5))
        return time.perf_counter() - start

    assert min(seconds(index) for index in range(20)) < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "a count and a length of at least 1"),
        ({"count": 1, "size": (16, 64)}, "sides of at least 32"),
        ({"count": 1, "objects": (3, 2)}, "objects must be the least and the most"),
        ({"count": 1, "split": "dev"}, "split must be one of"),
        ({"count": 1, "distractors": 1.5}, "distractors must be a probability, got 1.5"),
    ],
)
def test_names_the_setting_that_makes_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        SyntheticVideos(**settings)


def test_ends_where_it_ends():
    with pytest.raises(IndexError, match=r"0\.\.4"):
        SyntheticVideos(5)[5]
    assert len(list(SyntheticVideos(3))) == 3


class TestMotion:
    @pytest.mark.parametrize("plot", ["wander", "leave", "enter", "still"])
    def test_paths_are_smooth(self, plot):
        for seed in range(10):
            motion = draw_motion(Draws(seed), plot, (100, 160), 40, radius=12)
            steps = np.linalg.norm(np.diff(motion.centre, axis=0), axis=1)
            assert steps.max() < 25  # the fastest is what leaves the image in six frames
            assert (steps.max() == 0) == (plot == "still")
            assert motion.scale.min() > 0.6
            assert motion.squeeze.min() > 0.7

    def test_leaving_means_coming_back(self):
        for seed in range(10):
            x, y = draw_motion(Draws(seed), "leave", (100, 160), 40, radius=12).centre.T
            outside = (x < -12) | (x > 172) | (y < -12) | (y > 112)
            assert outside.any()
            assert not outside[[0, -1]].any()

    def test_entering_means_being_late(self):
        for seed in range(10):
            x, y = draw_motion(Draws(seed), "enter", (100, 160), 40, radius=12).centre.T
            outside = (x < -12) | (x > 172) | (y < -12) | (y > 112)
            assert outside[0]
            assert not outside[-1]

    def test_hiding_means_standing_behind_the_wall_for_a_while(self):
        wall = Wall(middle=80, half=15)
        for seed in range(10):
            x = draw_motion(Draws(seed), "hide", (100, 160), 40, radius=10, wall=wall).centre[:, 0]
            assert abs(x[0] - 80) > 25
            assert abs(x[-1] - 80) > 25
            assert (np.abs(x - 80) < 5).sum() >= 4

    def test_the_camera_stays_within_its_reach(self):
        paths = [draw_camera(Draws(seed), (96, 128), 40) for seed in range(20)]
        assert max(np.abs(path).max() for path in paths) <= 12
        assert 4 <= sum(path.any() for path in paths) <= 16
