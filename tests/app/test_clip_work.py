import numpy as np
import pytest

from sam2_hf.app.clip_work import ClipWork
from sam2_hf.app.live_work import LiveWork
from sam2_hf.predictors.tracker import Tracks
from sam2_hf.video_io.open_video import open_video


@pytest.fixture
def work(tracker, moving):
    return ClipWork(tracker, open_video(moving.frames), "moving")


def masks_of(work):
    return {(frame, n): item.mask for frame in range(len(work)) for n, item in work.masks(frame).items()}


def are_equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_prompts_and_tracking_give_what_the_tracker_gives(work, tracker, moving):
    a, b = moving.points[:2]
    work.add_point(0, *a)
    assert work.masks(0)[1].area and work.masks(1) == {}  # the mask is there before anything is tracked
    work.add_object()
    work.add_point(2, *b)
    work.add_point(2, *a, 0)
    assert work.needs_tracking
    assert set(work.track()) == set(range(4)) and not work.needs_tracking
    expected = Tracks(tracker, open_video(moving.frames))
    expected.add({1: a, 2: {"frame": 2, "points": b}})
    expected.segment_frame(2)
    expected.add({2: {"frame": 2, "points": [b, a], "labels": [1, 0]}})
    expected.run()
    for frame in range(len(work)):
        assert np.array_equal(work.masks(frame)[1].mask, expected[frame][1].mask)
        assert np.array_equal(work.masks(frame)[2].mask, expected[frame][2].mask)
    work.rename(2, "cup")
    assert work.result().names == ["object 1", "cup"]
    assert work.prompted_frames(2) == [2] and work.prompt(2, 2).labels == (1, 0)


def test_a_run_can_be_stopped_and_taken_up(work, moving):
    work.add_point(0, *moving.points[0])
    for frame in work.track():
        assert work.is_tracking
        if frame == 2:
            work.stop()
    assert not work.is_tracking and work.needs_tracking
    assert work.timelines() == {1: "111."}
    assert list(work.track()) == [0, 1, 2, 3] and work.timelines() == {1: "1111"}


def test_after_a_correction_only_what_it_reaches_is_computed_again(work, tracker, moving, monkeypatch):
    work.add_point(0, *moving.points[0])
    work.add_object()
    work.add_point(0, *moving.points[1])
    list(work.track())
    before, encoded = versions(work), []
    encode = tracker.model.encode_frames
    monkeypatch.setattr(tracker.model, "encode_frames", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    assert list(work.track()) == [0, 1, 2, 3] and encoded == []
    work.add_box(2, 10, 10, 90, 90)
    list(work.track())
    after = versions(work)
    assert (
        after[1] == before[1] and after[2][0] == before[2][0]
    )  # the other object, and the frame with the first prompt
    assert after[2][2] != before[2][2] and sum(encoded) == 3


def versions(work):
    """Which computation each result is from, by object and frame."""
    tracks = work._state.tracks.session.tracks
    return {number: [tracks[number].results[frame].version for frame in range(len(work))] for number in tracks}


def test_undo_brings_the_masks_back_as_they_were(work, moving):
    work.add_point(0, *moving.points[0])
    list(work.track())
    tracked = masks_of(work)
    work.add_point(3, *moving.points[1], 0)
    list(work.track())
    corrected = masks_of(work)
    work.add_object()
    work.add_point(0, *moving.points[1])
    work.remove(1)
    assert work.timelines().keys() == {2}
    for _ in range(3):
        work.undo()
    assert are_equal(masks_of(work), corrected) and not are_equal(corrected, tracked)
    work.undo()
    assert are_equal(masks_of(work), tracked) and work.prompted_frames(1) == [0]
    work.redo()
    assert are_equal(masks_of(work), corrected) and not work.needs_tracking


def test_a_change_ends_a_run(work, moving):
    work.add_point(0, *moving.points[0])
    run = work.track()
    assert next(run) == 0
    work.add_point(0, *moving.points[1], 0)
    assert list(run) == [] and work.needs_tracking and not work.is_tracking


def test_what_cannot_be_done_changes_nothing(work, moving):
    with pytest.raises(ValueError, match="nothing to track"):
        next(work.track())
    with pytest.raises(ValueError, match="first point must be on the object"):
        work.add_point(0, 5, 5, 0)
    with pytest.raises(IndexError, match="frames 0 to 3"):
        work.add_point(4, 5, 5)
    with pytest.raises(ValueError, match="outside of the frame"):
        work.add_box(0, 5, 5, 900, 5)
    with pytest.raises(ValueError, match="no mask yet"):
        work.result()
    assert not work.can_undo and work.objects.objects == ()
    work.add_point(0, *moving.points[0])
    work.remove(1)
    assert work.timelines() == {} and not work.needs_tracking


def test_a_camera_is_tracked_from_a_click(tracker, moving):
    live = LiveWork(tracker)
    with pytest.raises(ValueError, match="no frame yet"):
        live.add_point(1, 1)
    live.step(moving.frames[0])
    live.add_point(*moving.points[0])
    live.add_object()
    live.add_box(10, 10, 90, 90)
    assert live.step(moving.frames[1]).names == [1, 2]
    with pytest.raises(KeyError):
        live.select(5)
    live.remove(2)
    assert live.step(moving.frames[2]).names == [1] and live.newest.areas[0] > 0
    assert live.step(moving.frames[3][:64]).objects == [] and live.objects.objects == ()  # another camera
