"""What is kept of frames that have passed: checkpoints give what everything gives, in less space, at a bounded cost."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_close_in_scale
from hypothesis import given, settings
from hypothesis import strategies as st
from video_scenes import (
    PROCESSOR,
    assert_same,
    clip,
    counted,
    flickering_model,
    give,
    open_session,
    prompted,
    snapshot,
    tiny_model,
    track,
)

from sam2_hf.tracking import archive, stored_tensors
from sam2_hf.tracking.compact_mask import pack_logits
from sam2_hf.tracking.frame_result import FrameMemory, FrameResult
from sam2_hf.tracking.object_state import ObjectState
from sam2_hf.tracking.recipe import Recipe
from sam2_hf.tracking.retention import Checkpointed, Everything, Readable, read_retention
from sam2_hf.tracking.session import Sam2VideoInferenceSession

LENGTH = 12
KINDS = ("click", "box", "mask", "clicks", "background")
PASSES: dict[str, dict[str, Any]] = {
    "forward": {},
    "reverse": {"reverse": True},
    "both": {"direction": "both", "in_frame_order": True},
    "part": {},
}
SHORT = Checkpointed(interval=4, window=2)


def one_model(seed: int) -> Any:
    """Policies and widths of the window in turn; with few memories, not every memory is one of a checkpoint."""
    policies = ("sam2", "visible", "samurai", "dam4sam")
    if seed % 2:
        return flickering_model(memory_policy=policies[seed // 2 % 4])
    return tiny_model(num_maskmem=3, max_cond_frame_num=(-1, 2)[seed // 2 % 2])


def play(model: Any, seed: int, retention: Any, folder: Path, num_objects: int = 1) -> Iterator[tuple]:
    """A random session: what is done, the frame, and what is handed out, with all results exactly at the end."""
    draw, session = random.Random(seed), open_session(LENGTH, retention=retention)
    for obj_id in range(num_objects):
        give(session, draw.randrange(LENGTH), obj_id, draw.choice(KINDS))
    for _ in range(5):
        what = draw.choice(["give", "give", "clear", "remove", "save", "fork", "look", *PASSES, *PASSES])
        obj_id, frame, kind = draw.randrange(num_objects), draw.randrange(LENGTH), draw.choice(KINDS)
        reach, keep, reverse = draw.randrange(LENGTH), draw.random() < 0.5, draw.random() < 0.3
        if what == "give":
            give(session, frame, obj_id, kind)
        elif what == "clear" and obj_id in session.obj_ids:
            session.clear_prompts(frame, obj_id, keep_result=keep)
        elif what == "remove" and obj_id in session.obj_ids[1:]:
            session.remove_object(obj_id)
        elif what == "fork":
            session = session.fork()
        elif what == "save":
            session.save(folder)
            session = Sam2VideoInferenceSession.load(folder, video=clip(LENGTH))
        elif what == "look":
            yield what, frame, model(session, frame_idx=frame, reverse=reverse)
        elif what in PASSES and any(track.prompted_frames() for track in session.tracks.values()):
            part = {"start_frame_idx": frame, "max_frame_num_to_track": reach} if what == "part" else {}
            for output in model.propagate_in_video_iterator(session, **PASSES[what], **part):
                yield what, output.frame_idx, output
    for frame in range(LENGTH):
        yield "look", frame, model(session, frame_idx=frame)


def shown(output: Any) -> torch.Tensor:
    """Masks at a size that is no multiple of that of the logits."""
    return PROCESSOR.post_process_masks([output.pred_masks], [[90, 101]])[0]


def compare(seed: int, folder: Path) -> None:
    """Bit for bit with one object: masks of any size, scores, and logits where one frame is looked at."""
    model = one_model(seed)
    expected, found = (list(play(model, seed, retention, folder)) for retention in ("everything", SHORT))
    assert [step[:2] for step in found] == [step[:2] for step in expected]
    for (what, frame, output), (_, _, other) in zip(found, expected, strict=True):
        where = f"{what} {frame}"
        assert shown(output).equal(shown(other)), where
        assert output.object_score_logits.equal(other.object_score_logits), where
        assert output.iou_scores.equal(other.iou_scores), where
        assert what != "look" or output.pred_masks.equal(other.pred_masks), where


def compare_paths(seed: int, folder: Path, monkeypatch) -> None:
    """With "sam2long". The paths of an object are computed apart where some of them are computed again."""
    monkeypatch.setattr(stored_tensors, "MEMORY_DTYPE", torch.float64)
    model = (tiny_model, flickering_model)[seed % 2](memory_policy="sam2long", num_maskmem=3)
    expected, found = (list(play(model, seed, retention, folder)) for retention in ("everything", SHORT))
    assert [step[:2] for step in found] == [step[:2] for step in expected]
    for (what, frame, output), (_, _, other) in zip(found, expected, strict=True):
        where = f"{what} {frame}"
        torch.testing.assert_close(output.iou_scores, other.iou_scores, rtol=0, atol=1e-4, msg=where)
        if what == "look":
            # Logits go up to 50; rounding makes 0.002 of it after some frames, another path several units.
            torch.testing.assert_close(output.pred_masks, other.pred_masks, rtol=0, atol=0.05, msg=where)
        else:
            assert (shown(output) != shown(other)).float().mean() < 1e-3, where


class TestSameAsEverything:
    @settings(max_examples=3, deadline=None)
    @given(seed=st.integers(0, 10**6))
    def test_whatever_is_done(self, seed: int, tmp_path_factory) -> None:
        compare(seed, tmp_path_factory.mktemp("session"))

    @pytest.mark.slow
    @settings(max_examples=80, deadline=None)
    @given(seed=st.integers(0, 10**6))
    def test_whatever_is_done_many_times(self, seed: int, tmp_path_factory) -> None:
        compare(seed, tmp_path_factory.mktemp("session"))

    def test_what_is_still_needed_is_not_dropped_for_what_is_computed_again(self) -> None:
        """A click corrects a frame whose memories were computed again before, and its logits were not."""
        sessions = [
            prompted((0, "a"), num_frames=12, retention=kind)
            for kind in ("everything", Checkpointed(interval=8, window=1))
        ]
        outputs = []
        for session in sessions:
            track(model := tiny_model(num_maskmem=3), session)
            model(session, frame_idx=6)
            give(session, 7, "a", "background")
            outputs.append(model(session, frame_idx=7).pred_masks)
        assert outputs[0].equal(outputs[1])

    def test_objects_computed_together_bit_for_bit(self) -> None:
        sessions = [
            prompted((0, "a"), (0, "b", "box"), (0, "c", "mask"), num_frames=16, retention=kind)
            for kind in ("everything", Checkpointed(interval=8, window=2))
        ]
        for session in sessions:
            track(tiny_model(), session)
        for frame in (10, 5):
            first, second = (tiny_model()(session, frame_idx=frame).pred_masks for session in sessions)
            assert first.equal(second)

    @pytest.mark.parametrize("seed", [3])
    def test_objects_computed_apart_up_to_rounding(self, seed: int, tmp_path: Path, monkeypatch) -> None:
        # In double precision: a difference in the last bit of bfloat16 grows through memories.
        monkeypatch.setattr(stored_tensors, "MEMORY_DTYPE", torch.float64)
        expected, found = (
            list(play(tiny_model(), seed, retention, tmp_path, num_objects=3)) for retention in ("everything", SHORT)
        )
        for (what, _, output), (_, _, other) in zip(found, expected, strict=True):
            if what == "look":
                assert_close_in_scale(output.pred_masks, other.pred_masks, 1e-4)

    @pytest.mark.parametrize("seed", [1])
    def test_objects_with_several_paths_up_to_rounding(self, seed: int, tmp_path: Path, monkeypatch) -> None:
        compare_paths(seed, tmp_path, monkeypatch)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(40))
    def test_objects_with_several_paths_many_times(self, seed: int, tmp_path: Path, monkeypatch) -> None:
        compare_paths(seed, tmp_path, monkeypatch)

    def test_a_short_clip_is_kept_whole_by_default(self, monkeypatch) -> None:
        session = prompted((0, "a"), num_frames=20)
        first = track(tiny_model(), session)
        assert session.retention == "checkpointed" and len(list(session.tracks["a"].results.archive)) == 0
        assert_same(track(tiny_model(), session), first)


class TestCost:
    """How many frames are encoded, and how many object-frames read memories."""

    INTERVAL, WINDOW, NUM_FRAMES = 6, 3, 26

    @pytest.fixture(scope="class")
    @classmethod
    def tracked(cls) -> dict[str, Sam2VideoInferenceSession]:
        """Two objects that were tracked through a clip; to be forked."""
        rules = {"whole": "everything", "less": Checkpointed(cls.INTERVAL, cls.WINDOW)}
        sessions = {}
        for name, rule in rules.items():
            sessions[name] = prompted((0, "a"), (0, "b", "box"), num_frames=cls.NUM_FRAMES, retention=rule)
            track(tiny_model(), sessions[name])
        return sessions

    def cost(self, session: Sam2VideoInferenceSession, monkeypatch, work: Any) -> tuple[int, int]:
        names = ("encode_frame", "condition_on_memory")
        with monkeypatch.context() as patch, counted(tiny_model(), patch, *names) as calls:
            work(session)
        return len(calls["encode_frame"]), sum(len(memory.tokens) for _, memory in calls["condition_on_memory"])

    @pytest.mark.parametrize("frame", [1, 12, 25])
    def test_a_correction_takes_one_checkpoints_worth_more(self, frame: int, tracked, monkeypatch) -> None:
        def correct(session: Sam2VideoInferenceSession) -> None:
            give(session, frame, "a", "background")
            track(tiny_model(), session, start_frame_idx=frame, max_frame_num_to_track=2)

        whole, less = (self.cost(tracked[name].fork(), monkeypatch, correct) for name in ("whole", "less"))
        assert whole[0] <= less[0] <= whole[0] + self.INTERVAL
        assert whole[1] <= less[1] <= whole[1] + self.INTERVAL, "the other object is not computed again"

    def test_a_correction_and_the_whole_clip_take_one_checkpoints_worth_more(self, tracked, monkeypatch) -> None:
        def correct(session: Sam2VideoInferenceSession) -> None:
            give(session, 15, "a", "background")
            track(tiny_model(), session)

        whole, less = (self.cost(tracked[name].fork(), monkeypatch, correct) for name in ("whole", "less"))
        assert whole[0] <= less[0] <= whole[0] + self.INTERVAL
        assert whole[1] <= less[1] <= whole[1] + self.INTERVAL, "the other object is not computed again"

    def test_tracking_again_computes_nothing(self, tracked, monkeypatch) -> None:
        session = tracked["less"].fork()
        assert self.cost(session, monkeypatch, lambda session: track(tiny_model(), session)) == (0, 0)

    def test_a_look_back_costs_one_checkpoints_worth_and_then_nothing(self, tracked, monkeypatch) -> None:
        session = tracked["less"].fork()

        def look(frame: int) -> int:
            return self.cost(session, monkeypatch, lambda session: tiny_model()(session, frame_idx=frame))[0]

        assert 0 < look(15) <= self.INTERVAL
        assert look(15) == 0 and look(16) <= 1

    def test_what_is_looked_at_changes_nothing_else(self, tracked) -> None:
        session = tracked["less"].fork()
        before = {obj_id: dict(track.results.entries()) for obj_id, track in session.tracks.items()}
        tiny_model()(session, frame_idx=9)
        assert before == {obj_id: dict(track.results.entries()) for obj_id, track in session.tracks.items()}

    def test_a_frame_that_cannot_be_read_again_leaves_the_session_as_it_was(self, tracked, monkeypatch) -> None:
        session = tracked["less"].fork()
        before = snapshot(session)

        def fail(*arguments: Any) -> Any:
            raise OSError("the disk is gone")

        with monkeypatch.context() as patch:
            patch.setattr(type(session.frames), "prepare", fail)
            with pytest.raises(OSError, match="the disk is gone"):
                tiny_model()(session, frame_idx=9)
        assert snapshot(session) == before


def large_result(frame: int, logits: torch.Tensor, recipe: Recipe | None) -> FrameResult:
    """A result of the shapes of a model for 1024 px."""
    memory = FrameMemory(torch.zeros(64, 64, 64, dtype=torch.bfloat16), torch.zeros(256))
    conditions = recipe is None
    provenance = None if recipe is None else recipe.provenance
    shown = FrameResult(logits, torch.ones(1), torch.ones(1), memory, conditions, False, provenance, frame + 1)
    return archive.with_source(FrameResult(**{**vars(shown), "recipe": recipe}), frame)


class TestSpace:
    def test_a_frame_of_an_object_takes_under_40_kib_at_1024_pixels(self) -> None:
        """Bytes counted in the state of an object that was tracked for 1200 frames."""
        policy, history = tiny_model().memory_policy, ObjectState()
        rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
        packed = len(pack_logits((60 - torch.hypot(rows - 128.0, columns - 128.0)).numpy()))
        logits = (9 - torch.hypot(rows - 128.0, columns - 128.0))[None]
        sizes = {}
        for frame in range(1200):
            recipe = None
            if frame:
                selection = policy.select(history.results, frame)
                memories, pointers = (
                    tuple(entry.source for entry in history.results.entries_of(frames)) for frames in selection.frames()
                )
                recipe = Recipe(memories, (0,) * len(memories), pointers, (1,) * len(pointers), ((), ()), False, {})
            history.add_result(frame, large_result(frame, logits, recipe))
            Checkpointed().prune(history, policy, frame, reverse=False, is_seekable=True)
            sizes[frame + 1] = sum(tensor.nbytes for tensor in history.tensors())
            assert len(history.results.whole) <= 64
        # Beyond the frames that are kept whole, which are a constant amount.
        each = (sizes[1200] - sizes[176]) / 1024
        assert each + packed - len(pack_logits(logits[0].numpy())) < 40 * 1024
        assert max(sizes.values()) < 65 * 0.75 * 2**20 + 1200 * 40 * 1024

    def test_old_versions_are_forgotten_with_what_was_tracked_from_them(self) -> None:
        session = prompted((0, "a"), num_frames=16, retention=SHORT)
        track(tiny_model(), session)
        size = session.state_nbytes
        give(session, 0, "a", "background")
        track(tiny_model(), session)
        gc.collect()
        assert session.state_nbytes < 1.2 * size


class TestSettings:
    def test_names_and_rules_are_read(self) -> None:
        assert read_retention(None, is_seekable=True) == read_retention("checkpointed", True) == Checkpointed()
        assert read_retention(None, is_seekable=False) == read_retention("readable", True) == Readable()
        assert read_retention("everything", False) == Everything()
        assert read_retention(SHORT, True) is SHORT
        assert read_retention({"name": "checkpointed", "interval": 4, "window": 2, "directory": "/"}, True) == SHORT

    @pytest.mark.parametrize("setting", ["all", 5, {"name": "all"}, ["everything"]])
    def test_others_are_refused(self, setting: Any) -> None:
        with pytest.raises(ValueError, match='retention must be "everything", "checkpointed" or "readable", got'):
            read_retention(setting, is_seekable=True)

    @pytest.mark.parametrize("values", [{"interval": 0}, {"window": -1}, {"interval": 1.5}, {"window": True}])
    def test_numbers_are_checked(self, values: dict) -> None:
        with pytest.raises(ValueError, match=f"{next(iter(values))} must be an int of at least 1"):
            Checkpointed(**values)
