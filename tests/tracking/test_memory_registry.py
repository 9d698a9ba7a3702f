"""A memory policy from outside the package, through registration alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny import tiny_video_model
from video_scenes import PROCESSOR, assert_same, clip, counted, give, prompted, stream, track

from sam2_hf.configuration_sam2 import Sam2VideoConfig
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.tracking.memory.policy import MemoryPolicy, Observation
from sam2_hf.tracking.memory.recent import RecentMemory
from sam2_hf.tracking.memory.registry import MEMORY_POLICIES, build_memory_policy, register_memory_policy
from sam2_hf.tracking.memory.selection import SpatialMemory
from sam2_hf.tracking.memory.visible import VisibleMemory
from sam2_hf.tracking.session import Sam2VideoInferenceSession


@dataclass(frozen=True)
class EveryThird(MemoryPolicy):
    """Reads the neighbour, and makes each third frame that it observes a conditioning frame."""

    def new_state(self):
        return {"observed": 0, "scores": torch.zeros(0)}

    def observe(self, state, sighting):
        observed = state["observed"] + 1
        scores = torch.cat((state["scores"], torch.tensor([sighting.iou_score])))[-2:]
        return Observation({"observed": observed, "scores": scores}, promotes=observed % 3 == 0)

    def recent_memories(self, history, frame, reverse):
        return [SpatialMemory(frame + 1 if reverse else frame - 1, 0)]

    def readable_memories(self, history, frame, reverse):
        return [frame]


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_memory_policy("every third", EveryThird)
    yield
    MEMORY_POLICIES.pop("every third")


@pytest.fixture(scope="module")
def model(registered) -> Sam2VideoModel:
    return tiny_video_model(seed=0, memory_policy="every third")


class TestNames:
    def test_a_configuration_names_its_policy_and_gives_the_numbers(self) -> None:
        config = Sam2VideoConfig(num_maskmem=5, max_cond_frame_num=3, max_object_pointers_in_encoder=9)
        assert build_memory_policy(config) == RecentMemory(5, 9, 3)
        config.memory_policy = "visible"
        assert build_memory_policy(config) == VisibleMemory(5, 9, 3)

    def test_an_unknown_name_is_refused_with_those_that_are_known(self) -> None:
        with pytest.raises(ValueError, match=r'memory_policy must be one of "sam2", "visible".* got .best'):
            tiny_video_model(seed=0, memory_policy="best")

    def test_former_names_are_read(self) -> None:
        config = Sam2VideoConfig(memory_selection="recent")
        assert (config.memory_policy, config.memory_selection) == ("sam2", "sam2")
        assert "memory_selection" not in config.to_dict()
        config.memory_selection = "visible"
        assert config.memory_policy == "visible"
        assert build_memory_policy(config, {"name": "recent", "stride": 2}) == RecentMemory(stride=2)

    def test_settings_and_instances_are_kept_as_json_holds_them(self, tmp_path: Path) -> None:
        policy = VisibleMemory(num_maskmem=3)
        for given in (policy, {"name": "visible", "num_maskmem": 3}):
            tiny_video_model(seed=0, memory_policy=given).save_pretrained(tmp_path)
            assert Sam2VideoModel.from_pretrained(tmp_path).memory_policy == policy
        loaded = Sam2VideoModel.from_pretrained(tmp_path, memory_policy=RecentMemory(stride=4))
        assert loaded.memory_policy == RecentMemory(stride=4)
        assert loaded.config.memory_policy["name"] == "sam2"

    def test_a_class_without_a_name_gets_its_own(self) -> None:
        @dataclass(frozen=True)
        class Unnamed(EveryThird):
            pace: int = 3

        try:
            config = Sam2VideoConfig(memory_policy=Unnamed(pace=5))
            assert config.memory_policy["name"] == "Unnamed"
            assert build_memory_policy(config) == Unnamed(pace=5)
        finally:
            MEMORY_POLICIES.pop("Unnamed")

    def test_a_setting_that_a_policy_lacks_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"memory_policy 'visible' has the settings .* got 'stride'"):
            tiny_video_model(seed=0, memory_policy={"name": "visible", "stride": 2})

    def test_a_name_has_one_policy(self) -> None:
        register_memory_policy("sam2", RecentMemory)  # again, which changes nothing
        with pytest.raises(ValueError, match="'sam2' is RecentMemory"):
            register_memory_policy("sam2", EveryThird)
        with pytest.raises(TypeError, match="subclass of MemoryPolicy, got 7"):
            register_memory_policy("seven", 7)  # type: ignore[arg-type]


class TestPolicyFromOutside:
    def test_a_session_has_a_policy_of_its_own(self, model, tmp_path: Path) -> None:
        other, expected = tiny_video_model(seed=0), track(model, prompted((0, "a")))
        session = prompted((0, "a"), memory_policy="every third")
        assert_same(track(other, session, max_frame_num_to_track=3), {k: v for k, v in expected.items() if k < 4})
        session.save(tmp_path)
        loaded = Sam2VideoInferenceSession.load(tmp_path, video=clip(8))
        assert_same(track(other, loaded), expected)
        with pytest.raises(ValueError, match="memory_policy must be one of"):
            prompted((0, "a"), memory_policy="best")

    def test_it_decides_what_is_read_and_promoted(self, model) -> None:
        session = prompted((0, "a"))
        track(model, session)
        results = session.tracks["a"].results
        # The state starts with the prompt, which is observed first; frames 2 and 5 are the third and the sixth.
        assert [results[frame].policy_state["observed"] for frame in range(8)] == list(range(1, 9))
        assert results.conditioning == [0, 2, 5]
        assert [frame for frame, _ in results[7].provenance[0]] == [0, 2, 5, 6]

    def test_tracking_again_computes_nothing(self, model, monkeypatch) -> None:
        session = prompted((0, "a"))
        first = track(model, session)
        with counted(model, monkeypatch, "encode_memory") as calls:
            assert_same(track(model, session), first)
        assert calls["encode_memory"] == []

    def test_a_correction_promotes_anew(self, model) -> None:
        session = prompted((0, "a"))
        track(model, session)
        give(session, 1, "a", "background")
        track(model, session)
        results = session.tracks["a"].results
        assert results[1].provenance is None and not results[1].is_promoted
        assert sorted(results.conditioning) == [0, 1, 2, 5]
        assert [frame for frame, _ in results[2].provenance[0]] == [0, 1]

    def test_a_promoted_frame_goes_with_the_prompt_that_it_was_tracked_from(self, model) -> None:
        session = prompted((0, "a"))
        track(model, session)
        session.clear_prompts(0, "a")
        assert dict(session.tracks["a"].results) == {}

    def test_a_stream_gives_what_a_clip_gives(self, model) -> None:
        session = PROCESSOR.init_video_session()
        give(session, 0, "a")
        # With 16 frames, the pointers of a clip reach as far as those of a stream.
        assert_same(stream(model, session, range(16)), track(model, prompted((0, "a"), num_frames=16)))

    def test_it_chooses_among_the_candidates(self, model, monkeypatch) -> None:
        """The worst of three, and none is chosen where there is one alone."""
        asked = []

        def worst(self, states, candidates):
            asked.append((len(states), tuple(candidates.ious.shape), tuple(candidates.masks.shape)))
            return candidates.ious.argmin(dim=-1)

        monkeypatch.setattr(EveryThird, "choose", worst)
        session, best = prompted((0, "a"), (0, "b")), prompted((0, "a"), (0, "b"))
        track(model, session, max_frame_num_to_track=1)
        assert asked == [(2, (2, 3), (2, 3, 32, 32))] * 2
        monkeypatch.undo()
        track(model, best, max_frame_num_to_track=1)
        for obj_id in "ab":
            assert session.tracks[obj_id].results[0].iou < best.tracks[obj_id].results[0].iou

    def test_it_scales_the_keys_of_memories(self, model, monkeypatch) -> None:
        def tracked(factor: float | None) -> torch.Tensor:
            monkeypatch.setattr(
                EveryThird,
                "key_scale",
                lambda self, history, selection: None if factor is None else [factor] * len(selection.memories),
            )
            return track(model, prompted((0, "a")), max_frame_num_to_track=1)[1]["a"]

        plain, unscaled, scaled = tracked(None), tracked(1.0), tracked(1.5)
        torch.testing.assert_close(unscaled, plain, atol=1e-4, rtol=1e-4)  # the factor goes through a difference
        assert not torch.allclose(scaled, plain, atol=1e-2)

    def test_its_state_is_saved_with_the_session(self, model, tmp_path: Path) -> None:
        session = prompted((0, "a"))
        track(model, session, max_frame_num_to_track=4)
        session.save(tmp_path)
        loaded = Sam2VideoInferenceSession.load(tmp_path, video=clip(8))
        state = loaded.tracks["a"].results[4].policy_state
        assert state["observed"] == 5 and state["scores"].equal(session.tracks["a"].results[4].policy_state["scores"])
        assert_same(track(model, loaded), track(model, session))
