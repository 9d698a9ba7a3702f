"""Several clips at once: each gets what it gets alone, whatever becomes of the others."""

import threading

import numpy as np
import pytest
from tiny_checkpoint import save_tiny_checkpoint
from video_scenes import clip

import sam2_hf
from sam2_hf import TogetherTracker, Tracker, Tracks
from sam2_hf.tracking.schedule import SessionSchedule

COUNT = 4
PROMPTS = {"a": [(36, 44)], "b": {"frame": 0, "box": (80, 74, 112, 106)}}
LATE = {"a": {"frame": 2, "points": [(36, 44)]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    save_tiny_checkpoint(folder, video=True)
    return folder


@pytest.fixture(scope="module")
def tracker(folder):
    return Tracker(folder, device="cpu")


def images(shift=0, count=COUNT):
    return [np.roll(image, 9 * shift, axis=1) for image in clip(count)]


def assert_same_tracks(tracks, expected):
    """But for pixels on the edge, which rounding may tip."""
    assert (tracks.names, tracks.frames) == (expected.names, expected.frames)
    for frame in expected.frames:
        for name in expected.names:
            assert np.mean(tracks[frame][name].mask != expected[frame][name].mask) < 0.01


def test_clips_get_what_they_get_alone(tracker, folder):
    clips, prompts = [images(0), images(1, 2), images(2)], [PROMPTS, PROMPTS, LATE]
    found = sam2_hf.track_together(clips, prompts, together=2, checkpoint=folder, device="cpu")
    for tracks, frames, given in zip(found, clips, prompts, strict=True):
        assert_same_tracks(tracks, tracker.track(frames, given))


def test_they_are_computed_in_one_batch(tracker, monkeypatch):
    rounds, go_on = [], SessionSchedule.round

    def watched(schedule):
        frames = go_on(schedule)
        rounds.append(sum(frame.output is not None for frame in frames))
        return frames

    monkeypatch.setattr(SessionSchedule, "round", watched)
    TogetherTracker(tracker, 3).track([images(shift, 12) for shift in range(3)], PROMPTS)
    # A clip may have been opened before another, and so go on some frames ahead.
    assert sum(rounds) == 36 and rounds.count(3) >= 6


def test_one_that_fails_leaves_the_others(tracker):
    clips = [images(0), "missing.mp4", images(1)]
    first, error, last = TogetherTracker(tracker, 2).track(clips, PROMPTS, return_exceptions=True)
    assert isinstance(error, OSError) and "missing.mp4" in str(error)
    assert first.frames == last.frames == list(range(COUNT))
    with pytest.raises(OSError, match=r"missing\.mp4"):
        TogetherTracker(tracker, 2).track(clips, PROMPTS)


def test_wrong_prompts_are_the_error_of_their_clip(tracker):
    given = [PROMPTS, {"a": {"frame": 99, "points": [(1, 1)]}}]
    good, error = TogetherTracker(tracker).track([images(), images(1)], given, return_exceptions=True)
    assert isinstance(error, IndexError) and good.frames == list(range(COUNT))


def test_tracks_can_be_corrected_afterwards(tracker):
    (tracks,) = TogetherTracker(tracker).track([images()], PROMPTS)
    expected = tracker.track(images(), PROMPTS)
    for each in (tracks, expected):
        each.correct("a", 1, points=(70, 60), labels=0)
    assert_same_tracks(tracks, expected)


def test_streams_of_any_length_go_together(tracker):
    def work(batched, shift):
        return [result.frame for result in batched.stream(iter(images(shift, 2 + shift)), PROMPTS)]

    found = dict(TogetherTracker(tracker, 3).map(work, range(3)))
    assert found == {0: [0, 1], 1: [0, 1, 2], 2: [0, 1, 2, 3]}


def test_a_stream_that_is_left_does_not_hold_up_the_others(tracker):
    def work(batched, shift):
        frames = batched.stream(images(shift), PROMPTS)
        if shift == 0:
            next(frames)
            frames.close()
            return 1
        return len(list(frames))

    assert dict(TogetherTracker(tracker, 2).map(work, range(2))) == {0: 1, 1: COUNT}


def test_leaving_ends_all_threads(tracker):
    for _ in TogetherTracker(tracker, 2).map(lambda batched, shift: batched.track(images(shift), PROMPTS), range(6)):
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sam2-clip")]


def test_no_clips_are_no_work(tracker):
    assert TogetherTracker(tracker).track([], PROMPTS) == []


@pytest.mark.parametrize("together", [0, 1.5, True])
def test_how_many_is_a_number_of_clips(tracker, together):
    with pytest.raises(ValueError, match="together must be an int of at least 1"):
        TogetherTracker(tracker, together)


def test_there_are_prompts_for_each_clip(tracker):
    with pytest.raises(ValueError, match="prompts must be those of each of the 2 clips, got 1"):
        TogetherTracker(tracker).track([images(), images()], [PROMPTS])


def test_tracks_are_of_the_kind_that_track_gives(tracker):
    (tracks,) = TogetherTracker(tracker).track([images(0, 1)], PROMPTS)
    assert isinstance(tracks, Tracks) and tracks.tracker is tracker


def test_answers_that_come_later_reach_their_clips(folder):
    tracker = Tracker(folder, device="cpu", memory_policy={"name": "sam2long", "delay": 1})
    clips = [images(0), images(1, 2)]
    for tracks, frames in zip(TogetherTracker(tracker, 2).track(clips, PROMPTS), clips, strict=True):
        assert_same_tracks(tracks, tracker.track(frames, PROMPTS))
