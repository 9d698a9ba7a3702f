import numpy as np
import pytest
import torch
from clips import write_clip

import sam2_hf
from sam2_hf import Sam2VideoModel, Sam2VideoProcessor, Tracker, bundled_checkpoint
from sam2_hf.demo.world import draw_clip
from sam2_hf.predictors.tracker import read_clip_prompts
from sam2_hf.video_io.open_video import open_video

FOLDER = bundled_checkpoint()
COUNT = 8


@pytest.fixture(scope="module")
def world():
    drawn = draw_clip()
    return drawn._replace(frames=drawn.frames[:COUNT])


@pytest.fixture(scope="module")
def tracker():
    return Tracker(FOLDER)


def by_hand(frames, prompts):
    """Masks by frame and object, by the model, the processor and a session themselves; forward only."""
    model, processor = Sam2VideoModel.from_pretrained(FOLDER).eval(), Sam2VideoProcessor.from_pretrained(FOLDER)
    session = processor.init_video_session(frames)
    for frame, name, given in prompts:
        processor.add_inputs_to_inference_session(session, frame, [name], **given)
    found = {}
    for output in model.propagate_in_video_iterator(session):
        (masks,) = processor.post_process_masks([output.pred_masks], [[session.video_height, session.video_width]])
        for name, mask in zip(output.object_ids, masks[:, 0].numpy(), strict=True):
            found[output.frame_idx, name] = mask
    return found


def test_a_tracker_has_a_memory_policy_of_its_own(world, tracker):
    prompts = {"a": [world.points[0]]}
    tracks = Tracker(FOLDER, memory_policy="sam2").track(world.frames, prompts)
    assert (tracks.session.memory_policy, tracker.track(world.frames[:1], prompts).session.memory_policy) == (
        "sam2",
        None,
    )
    with pytest.raises(ValueError, match="memory_policy must be one of"):
        sam2_hf.track(world.frames, prompts, checkpoint=FOLDER, memory_policy="best")


def test_tracks_are_what_the_session_gives(world, tracker):
    a, b = world.points[:2]
    tracks = tracker.track(world.frames, {"a": [a], "b": {"frame": 0, "points": [b, a], "labels": [1, 0]}})
    expected = by_hand(
        world.frames,
        [
            (0, "a", {"input_points": [[[list(a)]]], "input_labels": [[[1]]]}),
            (0, "b", {"input_points": [[[list(b), list(a)]]], "input_labels": [[[1, 0]]]}),
        ],
    )
    assert (tracks.names, tracks.frames) == (["a", "b"], list(range(COUNT)))
    for (frame, name), mask in expected.items():
        assert np.array_equal(tracks[frame][name].mask, mask)
    assert expected[0, "a"].any()
    assert tracks[0]["a"].prompt.points == (a,) and tracks[1]["a"].prompt is None


def test_an_object_that_is_prompted_late_is_followed_back(world, tracker):
    tracks = tracker.track(world.frames, {"a": {"frame": 5, "points": world.points[0]}})
    assert tracks.frames == list(range(COUNT))
    assert all(tracks.visible("a"))


def test_boxes_and_masks_are_prompts(world, tracker):
    found = sam2_hf.segment(world.frames[0], points=world.points[0], checkpoint=FOLDER)
    by_mask = tracker.track(world.frames[:2], {"a": {"mask": found.masks[0]}})
    assert (by_mask[0]["a"].mask & found.masks[0]).sum() > 0.9 * found.areas[0]
    by_box = tracker.track(world.frames[:2], {"a": {"box": found.boxes[0]}})
    assert by_box[0]["a"].prompt.box == tuple(found.boxes[0]) and by_box[1]["a"].area > 0


def test_a_correction_changes_what_it_reaches_and_no_other_object(world, tracker):
    a, b = world.points[:2]
    tracks = tracker.track(world.frames, {"a": a, "b": b})
    before = {frame: tracks[frame].masks for frame in tracks.frames}
    x, y = world.points[1]
    assert tracks.correct("a", frame=4, points=(x, y)) is tracks
    assert not np.array_equal(tracks[4]["a"].mask, before[4][0])
    assert all(np.array_equal(tracks[frame]["b"].mask, before[frame][1]) for frame in tracks.frames)
    assert tracks[4]["a"].prompt.points == ((x, y),)
    with pytest.raises(KeyError, match=r"name must be one of \['a', 'b'\], got 'c'"):
        tracks.correct("c", frame=4, points=(1, 2))
    with pytest.raises(IndexError):
        tracks.correct("a", frame=COUNT, points=(1, 2))


def test_objects_are_added_and_removed(world, tracker):
    a, b = world.points[:2]
    tracks = tracker.track(world.frames, {"a": a})
    kept = [result["a"].mask for result in tracks]
    tracks.add({"b": b})
    tracks.run()
    assert tracks.names == ["a", "b"] and [result.names for result in tracks] == [["a", "b"]] * COUNT
    assert all(np.array_equal(result["a"].mask, mask) for result, mask in zip(tracks, kept, strict=True))
    tracks.remove("a")
    assert tracks.names == ["b"] and [result.names for result in tracks] == [["b"]] * COUNT


def test_a_stream_is_tracked_frame_by_frame(world, tracker):
    taken = []

    def frames():
        for frame in world.frames:
            taken.append(1)
            yield frame

    expected = tracker.track(world.frames, {"a": world.points[0]})
    for result in tracker.stream(frames(), {"a": world.points[0]}):
        assert len(taken) <= result.frame + 2
        assert np.array_equal(result["a"].mask, expected[result.frame]["a"].mask)
        assert np.array_equal(np.asarray(result.image), world.frames[result.frame])
    assert len(taken) == COUNT
    with pytest.raises(ValueError, match=r"a stream cannot be corrected .* Tracker\(\)\.stream"):
        tracker.track(iter(world.frames), {"a": world.points[0]})


def test_one_call_from_a_file_to_files(tmp_path, capfd):
    clip = write_clip(tmp_path / "clip.mp4", 5, size=(96, 224))
    tracks = sam2_hf.track(clip, {"bar": {"frame": 0, "points": [(60, 40)]}}, progress=True, checkpoint=FOLDER)
    assert "5/5" in capfd.readouterr().err
    assert tracks.name == "clip"
    tracks.save(tmp_path / "out.mp4")
    tracks.to_csv(tmp_path / "out.csv")
    tracks.to_coco(tmp_path / "out.json")
    with open_video(tmp_path / "out.mp4") as video:
        assert (len(video), video.size, video.fps) == (5, (96, 224), 25.0)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6


def test_the_model_stays_loaded(world):
    assert Tracker(FOLDER).model is Tracker(FOLDER).model
    assert Tracker(FOLDER, dtype=torch.bfloat16).model is not Tracker(FOLDER).model


def test_prompts_are_read_in_their_simplest_form():
    found = read_clip_prompts(
        {
            "a": (1, 2),
            "b": [{"frame": 3, "box": (0, 0, 5, 5)}, {"points": [(7, 8)], "labels": [0]}],
            4: {"points": (9, 9)},
        }
    )
    assert {frame: [prompt.name for prompt in prompts] for frame, prompts in found.items()} == {
        0: ["a", "b", 4],
        3: ["b"],
    }
    assert found[3][0].box == (0, 0, 5, 5) and found[0][1].labels == (0,)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ({}, ValueError, "prompts must be a dictionary by the objects' names"),
        ([(1, 2)], ValueError, "prompts must be a dictionary"),
        (
            {"a": {"point": (1, 2)}},
            ValueError,
            "the prompt of 'a' may have frame, points, labels, box, mask, got point",
        ),
        ({"a": {"frame": 3}}, ValueError, "object 'a' has no prompt"),
        ({"a": {"frame": 99, "points": (1, 2)}}, IndexError, "99"),
        (
            {"a": {"mask": np.ones((512, 512), bool), "points": (1, 2)}},
            ValueError,
            "'a' has a mask: points and box cannot",
        ),
        ({"a": (9, 9), "b": {"frame": 1, "points": (9, 9999)}}, ValueError, "a point of 'b' lies far outside"),
    ],
)
def test_refuses_prompts_that_cannot_be_meant(world, tracker, prompts, error, message):
    with pytest.raises(error, match=message):
        tracker.track(world.frames, prompts)


def test_a_run_may_be_left_and_taken_up_again(world, tracker):
    expected = tracker.track(world.frames, {"a": world.points[0]})
    tracks = tracker.track(world.frames[:1], {"a": world.points[0]})
    tracks = type(tracks)(tracker, open_video(world.frames))
    tracks.add({"a": world.points[0]})
    for frame in tracks.steps():
        if frame == 3:
            break
    assert tracks.frames == [0, 1, 2, 3]
    tracks.run()
    assert all(np.array_equal(tracks[frame].masks, expected[frame].masks) for frame in range(COUNT))


def test_a_frame_alone_changes_nothing_of_the_run_after_it(world, tracker):
    a, b = world.points[:2]
    prompts = {"a": a, "b": {"frame": 5, "points": b}}
    expected = tracker.track(world.frames, prompts)
    tracks = type(expected)(tracker, open_video(world.frames))
    with pytest.raises(ValueError, match="no objects"):
        tracks.segment_frame(0)
    tracks.add({"a": a})
    assert np.array_equal(tracks.segment_frame(0).masks, expected[0].masks[:1])
    tracks.add({"b": {"frame": 5, "points": b}})
    assert tracks.segment_frame(5)["b"].area and tracks.frames == [0, 5]
    tracks.run()
    assert all(np.array_equal(tracks[frame].masks, expected[frame].masks) for frame in range(COUNT))


def test_a_fork_leaves_the_original_as_it_was(world, tracker):
    tracks = tracker.track(world.frames, {"a": world.points[0]})
    before = [tracks[frame].masks for frame in tracks.frames]
    forked = tracks.fork()
    forked.correct("a", frame=4, points=world.points[1])
    forked.add({"b": world.points[1]})
    forked.run()
    assert (tracks.names, forked.names) == (["a"], ["a", "b"])
    assert all(np.array_equal(tracks[frame].masks, mask) for frame, mask in enumerate(before))
    assert tracks[4]["a"].prompt is None and forked[4]["a"].prompt is not None


def test_names_may_be_changed_for_files(world, tracker):
    tracks = tracker.track(world.frames[:2], {1: world.points[0], 2: world.points[1]})
    named = tracks.renamed({2: "cup"})
    assert named.names == ["cup"] and np.array_equal(named[1]["cup"].mask, tracks[1][2].mask)
    assert tracks.names == [1, 2]
