import numpy as np
import pytest

from sam2_hf import Tracker, bundled_checkpoint
from sam2_hf.demo.world import draw_clip
from sam2_hf.predictors.live import LiveTracks


@pytest.fixture(scope="module")
def world():
    drawn = draw_clip()
    return drawn._replace(frames=drawn.frames[:4])


@pytest.fixture(scope="module")
def tracker():
    return Tracker(bundled_checkpoint())


def test_frames_one_by_one_give_what_a_clip_gives(world, tracker):
    live = LiveTracks(tracker)
    assert live.step(world.frames[0]).objects == [] and live.names == []
    live.prompt("a", world.points[0])
    live.prompt("b", [world.points[1], world.points[0]], [1, 0])
    found = [live.step(frame) for frame in world.frames[1:]]
    a, b = world.points[:2]
    tracks = tracker.track(world.frames, {"a": a, "b": {"points": [b, a], "labels": [1, 0]}})
    for result in found:
        assert np.array_equal(result.masks, tracks[result.frame].masks)
    assert found[-1].names == ["a", "b"] and found[-1].areas.all()


def test_an_object_may_come_later_and_go(world, tracker):
    live = LiveTracks(tracker)
    live.step(world.frames[0])
    live.prompt("a", world.points[0])
    alone = live.step(world.frames[1])
    live.prompt("b", world.points[1])
    both = live.step(world.frames[2])
    live.remove("a")
    assert (alone.names, both.names, live.step(world.frames[3]).names) == (["a"], ["a", "b"], ["b"])
    live.remove("b")
    assert live.step(world.frames[0][:100]).objects == []  # without objects, another camera may come


def test_what_cannot_be_meant_is_refused(world, tracker):
    live = LiveTracks(tracker)
    with pytest.raises(ValueError, match="no frame yet"):
        live.prompt("a", (1, 2))
    with pytest.raises(ValueError, match=r"uint8 \(height, width, 3\), got float64"):
        live.step(np.zeros((4, 4, 3)))
    live.step(world.frames[0])
    with pytest.raises(KeyError, match="name must be one of"):
        live.remove("a")
    live.prompt("a", world.points[0])
    with pytest.raises(ValueError, match="keep their size"):
        live.step(world.frames[1][:100])
    assert live.step(world.frames[1]).names == ["a"]
