"""The loop over a clip: which frames come in which order, what is computed anew, and how reading them ends."""

from __future__ import annotations

import pytest
from video_scenes import (
    PROCESSOR,
    assert_same,
    clip,
    counted,
    flickering_model,
    give,
    is_empty,
    open_session,
    prompted,
    snapshot,
    tiny_model,
    track,
)

from sam2_hf.tracking.propagation import Pass, plan_passes

LENGTH = 8


def visited(session, **settings) -> list[int]:
    return [output.frame_idx for output in tiny_model().propagate_in_video_iterator(session, **settings)]


class TestOrder:
    @pytest.mark.parametrize(
        "settings, expected",
        [
            ({}, [3, 4, 5, 6, 7]),
            ({"start_frame_idx": 5}, [5, 6, 7]),
            ({"start_frame_idx": 0}, [0, 1, 2, 3, 4, 5, 6, 7]),
            ({"max_frame_num_to_track": 2}, [3, 4, 5]),
            ({"max_frame_num_to_track": 0}, [3]),
            ({"start_frame_idx": 6, "max_frame_num_to_track": 100}, [6, 7]),
            ({"reverse": True}, [3, 2, 1, 0]),
            ({"direction": "backward"}, [3, 2, 1, 0]),
            ({"reverse": True, "direction": "backward", "max_frame_num_to_track": 1}, [3, 2]),
            ({"reverse": True, "start_frame_idx": 7}, [7, 6, 5, 4, 3, 2, 1, 0]),
            ({"reverse": True, "start_frame_idx": 0}, []),
            ({"direction": "both"}, [3, 4, 5, 6, 7, 2, 1, 0]),
            ({"direction": "both", "max_frame_num_to_track": 2}, [3, 4, 5, 2, 1]),
            ({"direction": "both", "in_frame_order": True}, [0, 1, 2, 3, 4, 5, 6, 7]),
            ({"direction": "both", "in_frame_order": True, "max_frame_num_to_track": 1}, [2, 3, 4]),
            ({"direction": "both", "in_frame_order": True, "start_frame_idx": 6}, [0, 1, 2, 6, 7]),
            ({"reverse": True, "in_frame_order": True}, [0, 1, 2, 3]),
            ({"in_frame_order": True}, [3, 4, 5, 6, 7]),
        ],
    )
    def test_frames_come_in_the_order_asked_for(self, settings: dict, expected: list[int]) -> None:
        assert visited(prompted((3, "a")), **settings) == expected

    def test_positions_are_those_of_transformers(self) -> None:
        """(session, start_frame_idx, max_frame_num_to_track, reverse, show_progress_bar)"""
        outputs = tiny_model().propagate_in_video_iterator(prompted((3, "a")), 4, 2, True, False)
        assert [output.frame_idx for output in outputs] == [4, 3, 2]

    def test_the_earliest_of_several_prompts_is_the_start(self) -> None:
        assert visited(prompted((6, "a"), (4, "b"))) == [4, 5, 6, 7]

    def test_both_ways_goes_back_from_the_last_of_the_first_prompts(self) -> None:
        assert visited(prompted((2, "a"), (5, "b")), direction="both") == [*range(2, 8), 4, 3, 2, 1, 0]

    def test_both_ways_from_the_first_frame_is_forward(self) -> None:
        assert visited(prompted((0, "a")), direction="both") == list(range(LENGTH))

    def test_a_clip_of_one_frame(self) -> None:
        for settings in ({}, {"direction": "both"}, {"reverse": True}):
            assert visited(prompted((0, "a"), num_frames=1), **settings) == ([] if "reverse" in settings else [0])

    def test_progress_goes_to_the_error_stream_on_request(self, capsys) -> None:
        visited(prompted((3, "a")), show_progress_bar=True)
        assert "5/5" in capsys.readouterr().err
        visited(prompted((3, "a")))
        assert capsys.readouterr().err == ""


class TestRefusals:
    @pytest.mark.parametrize(
        "settings, error, message",
        [
            ({"start_frame_idx": 8}, IndexError, r"frame_idx must be in 0\.\.7, got 8"),
            ({"start_frame_idx": -1}, IndexError, r"frame_idx must be in 0\.\.7, got -1"),
            ({"start_frame_idx": 1.5}, TypeError, "frame_idx must be an int, got 1.5"),
            ({"max_frame_num_to_track": -1}, ValueError, "max_frame_num_to_track must be 0 or above, got -1"),
            ({"max_frame_num_to_track": 2.5}, TypeError, "max_frame_num_to_track must be an int, got 2.5"),
            ({"direction": "up"}, ValueError, 'direction must be "forward", "backward" or "both", got \'up\''),
            ({"reverse": True, "direction": "forward"}, ValueError, 'reverse=True means direction="backward"'),
        ],
    )
    def test_bad_arguments_are_named_at_once_and_change_nothing(self, settings, error, message) -> None:
        session = prompted((3, "a"))
        before = snapshot(session)
        with pytest.raises(error, match=message):
            tiny_model().propagate_in_video_iterator(session, **settings)
        assert snapshot(session) == before

    def test_without_prompts_there_is_nothing_to_propagate(self) -> None:
        session = open_session()
        with pytest.raises(ValueError, match="no object of this session has a prompt; add inputs first"):
            tiny_model().propagate_in_video_iterator(session)
        give(session, 0, "a")
        session.clear_prompts(0, "a")
        with pytest.raises(ValueError, match="no object of this session has a prompt"):
            tiny_model().propagate_in_video_iterator(session)

    def test_a_stream_without_source_is_not_propagated(self) -> None:
        session = PROCESSOR.init_video_session()
        give(session, 0, "a")
        with pytest.raises(ValueError, match="call the model with each frame as it comes"):
            tiny_model().propagate_in_video_iterator(session)

    def test_a_generator_is_not_tracked_backward(self) -> None:
        session = PROCESSOR.init_video_session(iter(clip(3)))
        give(session, 0, "a")
        for settings in ({"reverse": True}, {"direction": "both"}):
            with pytest.raises(ValueError, match="a stream can only be tracked forward"):
                tiny_model().propagate_in_video_iterator(session, **settings)

    def test_frames_are_sorted_only_where_they_are_kept(self) -> None:
        session = prompted((3, "a"), retention="readable")
        with pytest.raises(ValueError, match='in_frame_order needs a session with retention="everything"'):
            tiny_model().propagate_in_video_iterator(session, direction="both", in_frame_order=True)


class TestDirections:
    def test_both_ways_at_once_is_one_way_after_the_other(self) -> None:
        together, apart = prompted((3, "a"), (5, "b")), prompted((3, "a"))
        masks = track(tiny_model(), together, direction="both")
        forward = track(tiny_model(), apart)
        backward = track(tiny_model(), apart, start_frame_idx=3, reverse=True)
        for frame in range(LENGTH):
            expected = (forward if frame >= 3 else backward)[frame]["a"]
            assert (masks[frame]["a"] - expected).abs().max() < 1e-3 * expected.abs().max()

    def test_each_object_is_followed_back_from_its_own_first_prompt(self) -> None:
        session = prompted((3, "a"), (5, "b"))
        masks = track(tiny_model(), session, direction="both")
        assert not any(is_empty(mask) for by_object in masks.values() for mask in by_object.values())
        directions = {
            obj_id: [result.tracked_in_reverse for _, result in sorted(track.results.items())]
            for obj_id, track in session.tracks.items()
        }
        assert directions == {"a": [True] * 3 + [False] * 5, "b": [True] * 5 + [False] * 3}

    def test_frames_in_order_are_those_that_came_out_of_order(self) -> None:
        masks = track(tiny_model(), prompted((3, "a"), (5, "b")), direction="both")
        in_order = track(tiny_model(), prompted((3, "a"), (5, "b")), direction="both", in_frame_order=True)
        assert list(in_order) == list(range(LENGTH))
        assert_same(in_order, dict(sorted(masks.items())))

    def test_backward_alone_sorted_shows_what_was_tracked(self) -> None:
        masks = track(tiny_model(), prompted((3, "a")), reverse=True)
        in_order = track(tiny_model(), prompted((3, "a")), reverse=True, in_frame_order=True)
        assert_same(in_order, dict(sorted(masks.items())))

    def test_before_its_prompt_an_object_has_no_mask(self) -> None:
        masks = track(tiny_model(), prompted((1, "a"), (4, "late")))
        assert [frame for frame in masks if is_empty(masks[frame]["late"])] == [1, 2, 3]
        assert [frame for frame in masks if is_empty(masks[frame]["a"])] == []

    def test_the_official_flag_gives_it_one(self) -> None:
        model = tiny_model(track_before_first_prompt=True)
        masks = track(model, prompted((1, "a"), (4, "late")))
        assert not any(is_empty(masks[frame]["late"]) for frame in masks)

    def test_prompts_are_segmented_whatever_the_direction(self) -> None:
        session = prompted((0, "a"), (6, "b"))
        assert visited(session, reverse=True, start_frame_idx=0) == []
        assert session.pending_frames() == []

    @pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
    def test_objects_added_before_and_after_tracking_end_up_the_same(self, order: tuple[str, str]) -> None:
        frames = {"a": 0, "b": 2}
        session = prompted((frames[order[0]], order[0]))
        track(tiny_model(), session)
        give(session, frames[order[1]], order[1])
        late = track(tiny_model(), session)
        early = track(tiny_model(), prompted((0, "a"), (2, "b")))
        for frame in range(2, LENGTH):
            for obj_id in "ab":
                difference = (late[frame][obj_id] - early[frame][obj_id]).abs().max()
                assert difference < 1e-3 * early[frame][obj_id].abs().max()


class TestComputingAnew:
    """Re-propagation computes what a change can reach, and nothing else."""

    def recompute(self, session, monkeypatch, **settings) -> tuple[list[int], int]:
        """The frames that were read, and how many object-frames were conditioned on memory."""
        model, reads = tiny_model(), []
        with monkeypatch.context() as patch, counted(model, patch, "encode_frame", "condition_on_memory") as calls:
            read = type(session.frames).prepare
            patch.setattr(type(session.frames), "prepare", lambda self, frame: reads.append(frame) or read(self, frame))
            list(model.propagate_in_video_iterator(session, **settings))
        assert len(reads) == len(calls["encode_frame"])
        return len(reads), sum(len(memory.tokens) for _, memory in calls["condition_on_memory"])

    @pytest.mark.parametrize("settings", [{}, {"direction": "both"}, {"direction": "both", "in_frame_order": True}])
    def test_nothing_changed_nothing_computed(self, settings: dict, monkeypatch) -> None:
        session = prompted((3, "a"), (5, "b"))
        first = track(tiny_model(), session, **settings)
        assert self.recompute(session, monkeypatch, **settings) == (0, 0)
        assert_same(track(tiny_model(), session, **settings), first)

    def test_forward_again_after_both_ways_computes_nothing(self, monkeypatch) -> None:
        session = prompted((3, "a"))
        track(tiny_model(), session, direction="both")
        assert self.recompute(session, monkeypatch) == (0, 0)
        assert self.recompute(session, monkeypatch, reverse=True) == (0, 0)

    def test_going_on_computes_the_rest(self, monkeypatch) -> None:
        session = prompted((0, "a"))
        track(tiny_model(), session, max_frame_num_to_track=4)
        assert self.recompute(session, monkeypatch) == (3, 3)

    def test_a_correction_is_the_only_objects_business(self, monkeypatch) -> None:
        session = prompted((0, "a"), (0, "b", "box"))
        before = track(tiny_model(), session)
        give(session, 4, "a", "background")
        # The corrected frame, and all the others but the prompted one: those before it see it as well.
        assert self.recompute(session, monkeypatch) == (LENGTH - 1, LENGTH - 1)
        after = track(tiny_model(), session)
        for frame in range(LENGTH):
            assert after[frame]["b"].equal(before[frame]["b"])
            assert after[frame]["a"].equal(before[frame]["a"]) is (frame == 0)

    def test_a_late_object_costs_its_own_frames(self, monkeypatch) -> None:
        session = prompted((0, "a"))
        track(tiny_model(), session)
        give(session, 5, "late")
        assert self.recompute(session, monkeypatch) == (3, 2)

    def test_removing_an_object_costs_nothing(self, monkeypatch) -> None:
        session = prompted((0, "a"), (2, "b"))
        track(tiny_model(), session)
        session.remove_object("a")
        assert self.recompute(session, monkeypatch) == (0, 0)

    def test_a_prompt_taken_back_costs_what_it_had_reached(self, monkeypatch) -> None:
        session = prompted((0, "a"), (4, "a", "background"), (0, "b"))
        track(tiny_model(), session)
        session.clear_prompts(4, "a")
        assert self.recompute(session, monkeypatch) == (LENGTH - 1, LENGTH - 1)
        fresh = track(tiny_model(), prompted((0, "a"), (0, "b")))
        again = track(tiny_model(), session)
        for frame in range(LENGTH):
            difference = (again[frame]["a"] - fresh[frame]["a"]).abs().max()
            assert difference < 1e-3 * fresh[frame]["a"].abs().max()

    def test_a_cleared_prompt_and_another_later_start_afresh(self) -> None:
        session = prompted((1, "a"))
        track(tiny_model(), session)
        session.clear_prompts(1, "a")
        give(session, 4, "a")
        masks, fresh = track(tiny_model(), session, start_frame_idx=0), track(tiny_model(), prompted((4, "a")))
        assert all(is_empty(masks[frame]["a"]) for frame in range(4))
        assert_same({frame: masks[frame] for frame in fresh}, fresh)


class TestCorrections:
    def test_a_correction_survives_propagation(self) -> None:
        session = prompted((0, "a"))
        track(tiny_model(), session)
        give(session, 4, "a", "mask")
        corrected = tiny_model()(session, frame_idx=4).pred_masks[0]
        assert track(tiny_model(), session)[4]["a"].equal(corrected)
        assert track(tiny_model(), session, start_frame_idx=0)[4]["a"].equal(corrected)
        assert session.tracks["a"].results.conditioning == [0, 4]

    def test_without_the_flag_it_is_overwritten_as_officially(self) -> None:
        model = tiny_model(add_all_frames_to_correct_as_cond=False)
        session = prompted((0, "a"))
        first = track(model, session)
        give(session, 4, "a", "mask")
        assert not model(session, frame_idx=4).pred_masks[0].equal(first[4]["a"])
        assert_same(track(model, session), first)

    def test_the_first_click_can_be_corrected_after_tracking_with_either_flag(self) -> None:
        for flag in (True, False):
            model = tiny_model(add_all_frames_to_correct_as_cond=flag)
            session = prompted((0, "a"))
            first = track(model, session)
            give(session, 0, "a", "background", clear_old_inputs=False)
            second = track(model, session)
            assert not any(is_empty(second[frame]["a"]) for frame in second)
            assert not second[7]["a"].equal(first[7]["a"])

    def test_prompts_given_while_iterating_count_from_then_on(self) -> None:
        session, seen = prompted((0, "a")), {}
        for output in tiny_model().propagate_in_video_iterator(session):
            if output.frame_idx == 3:
                give(session, 3, "late")
                give(session, 6, "later", "mask")
            seen[output.frame_idx] = dict(zip(output.object_ids, output.pred_masks, strict=True))
        assert list(seen[3]) == ["a"] and list(seen[4]) == ["a", "late", "later"]
        assert not is_empty(seen[4]["late"]) and not is_empty(seen[7]["later"]) and is_empty(seen[5]["later"])
        assert session.pending_frames() == []

    def test_removing_every_object_while_iterating_ends_it(self) -> None:
        session, seen = prompted((0, "a")), []
        for output in tiny_model().propagate_in_video_iterator(session):
            seen.append(output.frame_idx)
            if output.frame_idx == 2:
                session.remove_object("a")
        assert seen == [0, 1, 2]


class TestMemorySelection:
    def read(self, **config) -> tuple[dict[int, list[int]], set[int]]:
        """The frames whose memory each tracked frame was computed from, and the frames that show the object."""
        session = prompted((0, "a"), num_frames=20)
        outputs = list(flickering_model(**config).propagate_in_video_iterator(session))
        read = {
            frame: [memory for memory, _ in result.provenance[0]]
            for frame, result in session.tracks["a"].results.items()
            if result.provenance is not None
        }
        return read, {output.frame_idx for output in outputs if output.object_score_logits[0] > 0}

    def test_the_frames_just_passed_are_read_unless_asked_otherwise(self) -> None:
        read, _ = self.read()
        assert read == {frame: [0, *range(max(1, frame - 6), frame)] for frame in range(1, 20)}

    def test_visible_ones_are_read_however_long_ago_they_were(self) -> None:
        read, shown = self.read(memory_policy="visible")
        for frame, memories in read.items():
            last_shown = [other for other in range(frame - 1) if other in shown]
            assert memories == [0, *(other for other in [*last_shown, frame - 1][-6:] if other != 0)]
        assert any(memories[1] < frame - 6 for frame, memories in read.items() if frame > 6)


class TestPasses:
    def test_a_pass_is_a_plain_value(self) -> None:
        session = prompted((3, "a"), (5, "b"))
        assert plan_passes(session, "both", max_frames=3, in_frame_order=True) == [
            Pass(range(3, 7), silent=True),
            Pass(range(4, -1, -1), reverse=True, scope="unprompted", silent=True),
            Pass(range(3), scope="none"),
            Pass(range(3, 7), scope="none"),
        ]

    def test_an_endless_source_has_one_pass_without_end(self) -> None:
        session = PROCESSOR.init_video_session(iter(clip(2)))
        give(session, 0, "a")
        (one_pass,) = plan_passes(session, "forward")
        assert one_pass.frames.start == 0 and one_pass.frames.stop > 10**15
