"""Passes of several sessions in one schedule: clips and cameras of any length, and none is held up by another."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from closeness import assert_close_in_scale
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions_together import LENGTH, POLICIES, Camera, assert_near, by_session, damaged, images, opened
from video_scenes import (
    PROCESSOR,
    PROMPTS,
    assert_same,
    collect,
    give,
    tiny_model,
    track,
)

from sam2_hf.tracking import stored_tensors
from sam2_hf.tracking.retention import Checkpointed
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import open_video


class TestSchedule:
    def test_clips_of_any_length_end_when_they_end(self) -> None:
        model, sessions = tiny_model(), [opened(0, num_frames=2), opened(1), opened(2, num_frames=3)]
        order = [
            (sessions.index(frame.session), frame.output and frame.output.frame_idx)
            for frame in model.track_together(sessions)
        ]
        assert order == [
            *((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)),
            *((0, None), (1, 2), (2, 2), (1, 3), (2, None), (1, 4), (1, None)),
        ]

    def test_a_session_that_fails_says_so_and_leaves_the_others(self) -> None:
        model, sessions = tiny_model(), [damaged(at=2), opened(1)]
        frames = list(model.track_together(sessions))
        failed = [frame for frame in frames if frame.error is not None]
        assert [frame.session for frame in failed] == [sessions[0]] and failed[0].error.index == 2
        bad, good = by_session(frames, sessions)
        assert list(bad) == [0, 1]
        assert_near(good, track(model, opened(1)))

    @pytest.mark.parametrize("direction", ["backward", "both"])
    def test_passes_in_reverse_go_together(self, direction) -> None:
        prompts = [((3, "a"), (2, "b", "box")), ((4, "a", "mask"),)]
        model, sessions = tiny_model(), [opened(number, *some) for number, some in enumerate(prompts)]
        together = by_session(model.track_together(sessions, direction), sessions)
        for number, masks in enumerate(together):
            assert_near(masks, track(model, opened(number, *prompts[number]), direction=direction))

    @pytest.mark.parametrize("delay", [None, 2])
    def test_answers_that_come_later_are_waited_for(self, delay) -> None:
        policy = {"name": "sam2long", "delay": delay}
        model, sessions = tiny_model(), [opened(memory_policy=policy), opened(1)]
        frames = list(model.track_together(sessions))
        late = [frame.output and frame.output.frame_idx for frame in frames if frame.session is sessions[0]]
        assert late == [0, 1, 2, 3, 4, None]
        first = next(number for number, frame in enumerate(frames) if frame.session is sessions[0])
        before = [frame for frame in frames[:first] if frame.session is sessions[1]]
        assert len(before) == (LENGTH if delay is None else delay)
        expected = [track(model, opened(memory_policy=policy)), track(model, opened(1))]
        for masks, alone in zip(by_session(frames, sessions), expected, strict=True):
            assert_near(masks, alone)

    def test_frames_in_order_come_once(self) -> None:
        model, session, other = tiny_model(), opened(0, (3, "a")), opened(1)
        schedule = model.track_together([other])
        schedule.add(session, "both", in_frame_order=True)
        masks, _ = by_session(schedule, [session, other])
        assert_near(masks, track(model, opened(0, (3, "a")), direction="both", in_frame_order=True))

    def test_sessions_come_and_go_in_the_midst(self) -> None:
        model, first, second, third = tiny_model(), opened(), opened(1), opened(2, num_frames=2)
        schedule, order = model.track_together([first, second]), []
        for frame in schedule:
            order.append("last" if frame.is_last else frame.output.frame_idx)
            if frame.session is first and frame.output is not None and frame.output.frame_idx == 1:
                schedule.remove(second)
                schedule.add(third)
                assert len(schedule) == 2 and second not in schedule
        assert order == [0, 0, 1, 2, 0, 3, 1, 4, "last", "last"]
        assert 1 in second.tracks["a"].results, "its frame was in the batch"
        with pytest.raises(KeyError, match="not being tracked"):
            schedule.remove(second)
        assert_near({4: track(model, second)[4]}, {4: track(model, opened(1))[4]})

    def test_corrections_new_objects_and_removals_meet_one_session(self) -> None:
        def change(session, frame_idx) -> None:
            if frame_idx == 1:
                give(session, 1, "a", "background")
                give(session, 2, "late", "box")
            if frame_idx == 3:
                session.remove_object("a")

        model, changed, other = tiny_model(), opened(), opened(1)
        seen: dict[int, dict] = {}
        for frame in model.track_together([other, changed]):
            if frame.session is changed and frame.output is not None:
                seen.update(collect([frame.output]))
                change(changed, frame.output.frame_idx)
        alone, expected = opened(), {}
        for output in model.propagate_in_video_iterator(alone):
            expected.update(collect([output]))
            change(alone, output.frame_idx)
        assert_near(seen, expected)
        assert list(seen[4]) == ["late"]
        assert_near(track(model, other), track(model, opened(1)))

    def test_a_correction_that_recomputes_dropped_memories_goes_beside_others(self) -> None:
        rule = Checkpointed(interval=2, window=1)
        model, session, other = tiny_model(), opened(num_frames=8, retention=rule), opened(1, num_frames=8)
        list(model.track_together([session, other]))
        give(session, 3, "a", "background")
        again, _ = by_session(model.track_together([session, other]), [session, other])
        alone = opened(num_frames=8, retention="everything")
        track(model, alone)
        give(alone, 3, "a", "background")
        assert_near({frame: again[frame] for frame in (3, 7)}, {frame: track(model, alone)[frame] for frame in (3, 7)})

    def test_a_session_is_added_once_and_with_prompts(self) -> None:
        session = opened()
        schedule = tiny_model().track_together([session])
        with pytest.raises(ValueError, match="is being tracked already"):
            schedule.add(session)
        with pytest.raises(ValueError, match="no object of this session has a prompt"):
            schedule.add(PROCESSOR.init_video_session(images(1)))
        with pytest.raises(TypeError, match="must be a Sam2VideoInferenceSession"):
            schedule.add("clip.mp4")
        assert len(schedule) == 1

    def test_who_leaves_can_take_it_up_again(self) -> None:
        model, sessions = tiny_model(), [opened(), opened(1)]
        schedule = model.track_together(sessions)
        for frame in schedule:
            if frame.output.frame_idx == 2:
                break
        assert len(schedule) == 0
        for number, masks in enumerate(by_session(model.track_together(sessions), sessions)):
            assert_near(masks, track(model, opened(number)))

    def test_outside_of_it_gradients_are_what_they_were(self) -> None:
        for _ in tiny_model().track_together([opened()]):
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


class TestCameras:
    def test_a_silent_camera_holds_up_nobody(self) -> None:
        model, camera, other = tiny_model(), Camera(), opened(1)
        live = camera.session()
        frames, first = iter(model.track_together([live, other])), []
        while not (first and first[-1].session is other and first[-1].is_last):
            first.append(next(frames))
        assert len(by_session(first, [live])[0]) <= 1 < LENGTH == len(by_session(first, [live, other])[1])
        camera.release(LENGTH)
        rest = list(frames)
        alone = give(PROCESSOR.init_video_session(iter(images(0))), 0, "a")
        assert_near(by_session([*first, *rest], [live, other])[0], track(model, alone))
        assert rest[-1].is_last and rest[-1].error is None

    def test_the_one_that_comes_first_is_waited_for(self) -> None:
        cameras = [Camera(0), Camera(1)]
        sessions = [camera.session() for camera in cameras]
        frames = iter(tiny_model().track_together(sessions))
        assert {next(frames).output.frame_idx for _ in sessions} == {0}
        for number in (1, 1, 0, 1):
            cameras[number].release()
            assert next(frames).session is sessions[number]
        for camera in cameras:
            camera.release(LENGTH)
        assert [list(masks) for masks in by_session(frames, sessions)] == [[2, 3, 4], [4]]

    def test_no_frame_is_taken_before_the_one_before_is_handed_out(self) -> None:
        camera = Camera()
        camera.release(LENGTH)
        for frame in tiny_model().track_together([camera.session()]):
            if frame.output is not None:
                assert camera.taken == frame.output.frame_idx + 1

    def test_a_camera_that_breaks_off_is_an_error_of_its_own(self) -> None:
        def frames() -> Iterator[np.ndarray]:
            yield from images(0, 2)
            raise OSError("unplugged")

        live, other = give(PROCESSOR.init_video_session(open_video(frames())), 0, "a"), opened(1)
        given = list(tiny_model().track_together([live, other]))
        assert [str(frame.error) for frame in given if frame.error is not None] == ["unplugged"]
        assert [len(masks) for masks in by_session(given, [live, other])] == [2, LENGTH]

    def test_a_wait_can_be_ended_from_another_thread(self) -> None:
        camera = Camera()
        schedule = tiny_model().track_together([camera.session()])
        assert len(schedule.round()) == 1
        threading.Timer(0.05, schedule.wake).start()
        assert schedule.round() == []
        schedule.close()
        camera.release(LENGTH)


class TestInterleaving:
    """Whatever is done with sessions in whatever order, each gives what it gives with the same calls alone."""

    @settings(max_examples=1, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(seed=st.integers(0, 10**6))
    def test_any_interleaving_equals_each_session_alone(self, seed: int, monkeypatch) -> None:
        self.compare(seed, monkeypatch)

    @pytest.mark.slow
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(seed=st.integers(0, 10**6))
    def test_many_interleavings_equal_each_session_alone(self, seed: int, monkeypatch) -> None:
        self.compare(seed, monkeypatch)

    def compare(self, seed: int, monkeypatch) -> None:
        # In double precision: among so many mixtures, some frame's best mask wins by less than float32 rounds.
        monkeypatch.setattr(stored_tensors, "MEMORY_DTYPE", torch.float64)
        model, draw = copy.deepcopy(tiny_model()).double(), random.Random(seed)
        scripts = [self.script(draw) for _ in range(3)]
        more = [{"memory_policy": draw.choice(POLICIES)} for _ in scripts]
        sessions = [PROCESSOR.init_video_session(images(number), **one) for number, one in enumerate(more)]
        seen: list[list] = [[] for _ in scripts]
        waiting = [list(script) for script in scripts]
        while any(waiting):
            chosen = [number for number, script in enumerate(waiting) if script and draw.random() < 0.7]
            steps = {number: waiting[number].pop(0) for number in chosen}
            for number, (do, *what) in steps.items():
                self.change(sessions[number], do, *what)
            for reverse in (False, True):
                asked = {n: what[0] for n, (do, *what) in steps.items() if do == "step" and what[1] is reverse}
                asked = {n: frame for n, frame in asked.items() if sessions[n].obj_ids}
                outputs = model.step([sessions[n] for n in asked], list(asked.values()), reverse=reverse)
                for number, output in zip(asked, outputs, strict=True):
                    seen[number].append(output)
        for number, script in enumerate(scripts):
            session, expected = PROCESSOR.init_video_session(images(number), **more[number]), []
            for do, *what in script:
                self.change(session, do, *what)
                if do == "step" and session.obj_ids:
                    expected.append(model(session, frame_idx=what[0], reverse=what[1]))
            assert len(seen[number]) == len(expected)
            for output, other in zip(seen[number], expected, strict=True):
                assert (output.frame_idx, output.object_ids) == (other.frame_idx, other.object_ids)
                for mask, wanted in zip(output.pred_masks, other.pred_masks, strict=True):
                    assert_close_in_scale(mask, wanted, 1e-5)

    @staticmethod
    def script(draw: random.Random) -> list[tuple]:
        script: list[tuple] = []
        for _ in range(3):
            for _ in range(draw.randint(1, 2)):
                script.append(("give", draw.randrange(LENGTH), draw.choice("ab"), draw.choice([*PROMPTS])))
            if draw.random() < 0.2:
                script.append(("remove", draw.choice("ab")))
            reverse, start = draw.random() < 0.3, draw.randrange(2)
            frames = [*range(start, draw.randint(start + 1, LENGTH))]
            script += [("step", frame, reverse) for frame in (frames[::-1] if reverse else frames)]
        return script

    @staticmethod
    def change(session: Sam2VideoInferenceSession, do: str, *what) -> None:
        if do == "give":
            give(session, *what)
        elif do == "remove" and what[0] in session.obj_ids:
            session.remove_object(what[0])

    def test_clips_tracked_together_give_the_same_bits_each_time(self) -> None:
        def run() -> list[dict]:
            sessions = [opened(shift, num_frames=3 + shift) for shift in range(3)]
            return by_session(tiny_model().track_together(sessions), sessions)

        for masks, again in zip(run(), run(), strict=True):
            assert_same(masks, again)
