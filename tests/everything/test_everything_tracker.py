import numpy as np
import pytest
import torch
from tiny import tiny_video_model
from world_model import SIZE, World, WorldFinder, WorldModel, everything_of, names_of, tracker_with

from sam2_hf import Sam2ImageProcessor, Sam2VideoProcessor, segment_and_track_everything
from sam2_hf.everything.candidates import GridFinder
from sam2_hf.everything.chunks import ObjectChunks
from sam2_hf.everything.everything_tracker import EverythingTracker
from sam2_hf.mask_generation.settings import MaskGenerationSettings

STILL = [(0, 0)] * 30


def hidden_between(path, first, last):
    return [None if first <= frame <= last else position for frame, position in enumerate(path)]


class TestObjects:
    def test_are_found_on_the_first_frame_and_keep_their_names(self):
        moving = [(4 * (frame // 4), 40) for frame in range(30)]
        found = names_of(everything_of(World(STILL, moving)).track(World(STILL, moving).frames))
        assert all(found[frame] == {1: (0, 0), 2: moving[frame]} for frame in range(30))

    def test_that_enter_are_found_in_the_next_search(self):
        world = World(STILL, hidden_between([(32, 32)] * 30, 0, 13))
        found = names_of(everything_of(world, every=5).track(world.frames))
        assert [2 in found[frame] for frame in range(30)] == [frame >= 15 for frame in range(30)]

    def test_are_searched_every_so_often(self):
        world = World(STILL)
        finder = WorldFinder(world)
        everything_of(world, finder, every=7).track(world.frames)
        assert finder.searched == [0, 7, 14, 21, 28]

    def test_are_no_more_than_asked_for(self):
        world = World(*[[(20 * number, 0)] * 12 for number in range(3)])
        found = names_of(everything_of(world, max_objects=2).track(world.frames))
        assert all(set(objects) == {1, 2} for objects in found.values())

    def test_that_leave_make_room(self):
        world = World(hidden_between(STILL, 3, 29), [(32, 0)] * 30, [(0, 40)] * 30)
        settings = {"max_objects": 2, "patience": 3, "every": 5}
        found = names_of(everything_of(world, **settings).track(world.frames))
        assert set(found[9]) == {2} and set(found[10]) == {2, 3}

    def test_of_a_frame_are_none_where_nothing_is_visible(self):
        world = World([None] * 12)
        assert names_of(everything_of(world).track(world.frames)) == {frame: {} for frame in range(12)}


class TestLostObjects:
    WORLD = World(hidden_between(STILL, 6, 19), [(32, 32)] * 30)

    @pytest.mark.parametrize("patience", [20, 4])
    def test_go_on_under_their_names(self, patience):
        """With much patience the object is tracked on; with little it is looked for in searches."""
        found = names_of(everything_of(self.WORLD, every=5, patience=patience).track(self.WORLD.frames))
        assert [1 in found[frame] for frame in range(30)] == [not 6 <= frame <= 19 for frame in range(30)]
        assert set().union(*found.values()) == {1, 2}

    def test_are_not_tracked_meanwhile(self):
        model = WorldModel(self.WORLD)
        tracker = everything_of(self.WORLD, model=model, every=5, patience=4, objects_per_chunk=1)
        work = tracker._pass(everything_source(self.WORLD))
        for index in range(17):
            work.step(index, torch.from_numpy(self.WORLD.frames[index]).permute(2, 0, 1))
        assert (work.active.names, work.lost.names) == ([2], [1])

    def test_that_memory_does_not_find_are_new(self):
        model = WorldModel(self.WORLD, blind={1})
        found = names_of(everything_of(self.WORLD, model=model, every=5, patience=4).track(self.WORLD.frames))
        assert set(found[25]) == {2, 3}

    def test_that_are_too_many_are_forgotten(self):
        found = names_of(everything_of(self.WORLD, every=5, patience=4, max_lost=0).track(self.WORLD.frames))
        assert set(found[25]) == {2, 3}

    def test_that_were_admitted_anew_get_their_old_names(self):
        """In the search of frame 10 memory does not find the object, in that of frame 15 it does."""

        class LateModel(WorldModel):
            def __call__(self, session, frame_idx, **options):
                self.blind = {1} if 5 <= frame_idx < 15 else set()
                return super().__call__(session, frame_idx, **options)

        world = World(hidden_between(STILL, 6, 8), [(32, 32)] * 30)
        tracker = everything_of(world, model=LateModel(world), every=5, patience=2)
        found = names_of(tracker.track(world.frames))
        assert set(found[12]) == set(found[20]) == {1, 2}

        streamed = {
            frame.frame: frame.names
            for frame in everything_of(world, model=LateModel(world), every=5, patience=2).stream(iter(world.frames))
        }
        assert set(streamed[12]) == {2, 3} and set(streamed[20]) == {1, 2}

    def test_are_others_than_objects_that_were_visible_beside_them(self):
        """Object 1 hides and its memory takes object 2 for it; both were visible at once."""
        world = World(hidden_between(STILL, 6, 29), [(32, 32)] * 30)
        model = WorldModel(world, drifts={(1, 12): 1})
        found = names_of(everything_of(world, model=model, every=5).track(world.frames))
        assert all(objects == {2: (32, 32)} for frame, objects in found.items() if frame >= 15)


@pytest.mark.parametrize("path", [[(32, 32)] * 30, [(2 * frame, 44) for frame in range(30)]])
def test_an_object_that_passes_over_to_another_gives_way(path):
    """Whether the other stands or moves by more than half its size between two searches."""
    world = World([(0, 0)] * 30, path)
    model = WorldModel(world, drifts={(1, 7): 1})
    found = names_of(everything_of(world, model=model, every=5).track(world.frames))
    assert set(found[4]) == {1, 2} and found[20][2] == path[20] and set(found[20]) == {2, 3}
    assert found[20][3] == (0, 0)


class TestBackwards:
    WORLD = World(STILL, hidden_between([(32, 32)] * 30, 0, 13), hidden_between([(0, 40)] * 30, 0, 3))

    def test_objects_are_followed_to_where_they_were_first_visible(self):
        tracker = everything_of(self.WORLD, every=10)
        before, after = (names_of(tracker.track(self.WORLD.frames, backward=way)) for way in (False, True))
        assert [frame for frame in range(30) if 3 in before[frame]] == list(range(20, 30))
        assert [frame for frame in range(30) if 3 in after[frame]] == list(range(14, 30))
        assert [frame for frame in range(30) if 2 in after[frame]] == list(range(4, 30))

    def test_a_stream_cannot_be(self, monkeypatch):
        with pytest.raises(ValueError, match="stream"):
            everything_of(self.WORLD).track(iter(self.WORLD.frames))


class TestCost:
    def test_each_frame_is_encoded_once(self):
        world = World(STILL, [(32, 32)] * 30)
        model = WorldModel(world)
        everything_of(world, model=model, every=5, objects_per_chunk=1).track(world.frames)
        assert model.encoded == list(range(30))

    def test_objects_are_computed_a_few_at_a_time(self):
        world = World(*[[(20 * (number % 3), 20 * (number // 3))] * 12 for number in range(7)])
        model = WorldModel(world)
        found = names_of(everything_of(world, model=model, objects_per_chunk=3).track(world.frames))
        assert len(found[5]) == 7 and model.largest == 3


def everything_source(world):
    from sam2_hf.video_io.open_video import open_video

    return open_video(world.frames)


@pytest.fixture(scope="module")
def model():
    return tiny_video_model(image_size=SIZE)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (9, 48, 80, 3), np.uint8)


def tracker_of(model, **settings):
    """Everything mode with a random model, whose masks all pass."""
    own = {"every": 4, "least_area": 0, **settings}
    generation = MaskGenerationSettings(points_per_crop=4, pred_iou_thresh=0, stability_score_thresh=0)
    tracker = tracker_with(model, Sam2VideoProcessor(Sam2ImageProcessor(size=SIZE, mask_size=SIZE // 4)))
    return EverythingTracker.of(tracker, GridFinder(model, generation), **own)


class TestWithAModel:
    """A random model: what is tracked is of no use, but real."""

    def test_a_clip_and_a_stream_and_any_chunks_give_the_same(self, model, frames):
        clip = tracker_of(model).track(frames)
        assert max(len(frame) for frame in clip) >= 2
        for size in (1, 100):
            tracker = tracker_of(model, objects_per_chunk=size)
            streamed = {frame.frame: frame for frame in tracker.stream(iter(frames))}
            for frame in clip:
                other = streamed[frame.frame]
                assert {item.name for item in frame} == {item.name for item in other}
                for item in frame:
                    assert (item.mask == other[item.name].mask).mean() > 0.999  # sums of other batches

    def test_what_is_held_stays_the_same(self, model, frames, monkeypatch):
        """No more than as many objects as there may be, each with what a stream holds of one object."""
        settings = {"max_objects": 2, "max_lost": 1, "patience": 2}
        work = tracker_of(model, **settings)._pass(source_of(frames))
        sizes = []
        for index in range(40):
            work.step(index, torch.from_numpy(frames[index % 9]).permute(2, 0, 1))
            sizes.append(work.active.state_nbytes() + work.lost.state_nbytes())
        single = ObjectChunks(model, work.new_session, 1)
        features = work.encode(torch.from_numpy(frames[0]).permute(2, 0, 1))
        single.add(40, features, {1: torch.ones(SIZE, SIZE, dtype=torch.bool)})
        for index in range(40, 62):
            with torch.inference_mode():
                single.run(index, features)
        assert 0 < max(sizes) <= 3 * single.state_nbytes()
        assert len(work.known) <= 3

    def test_grid_points_are_where_nothing_is_tracked(self, model, frames, monkeypatch):
        decoded = []
        tracker = tracker_of(model)
        original = model.decode_prompts
        monkeypatch.setattr(
            type(model),
            "decode_prompts",
            lambda self, *args, **options: (
                decoded.append(options["input_points"].shape[1]) or original(*args, **options)
            ),
        )
        tracker.track(frames)
        assert decoded[0] == 16 and all(count < 16 for count in decoded[1:])

    def test_backwards(self, model, frames, monkeypatch):
        result = tracker_of(model, max_objects=4).track(frames, backward=True)
        assert result.frames == list(range(9)) and all(len(set(frame.names)) == len(frame) for frame in result)


def source_of(frames):
    from sam2_hf.video_io.open_video import open_video

    return open_video(frame for frame in np.concatenate([frames] * 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"max_objects": 2.5}, "max_objects must be a whole number"),
        ({"covered": 2}, "covered must be a number from 0 to 1"),
        ({"crops_n_layers": 1}, "crops_n_layers must be 0"),
        ({"pred_iou_thresh": "high"}, "pred_iou_thresh must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EverythingTracker(**settings)


@pytest.mark.parametrize("name", ["evry", "output_mode"])
def test_settings_that_do_not_exist_are_refused(name):
    with pytest.raises(TypeError, match=name):
        segment_and_track_everything("clip.mp4", **{name: 1})
