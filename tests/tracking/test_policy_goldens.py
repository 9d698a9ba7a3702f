"""Decisions of the memory policies beside those of their authors' code, on the same random weights and clips."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_goldens import IMAGE_SIZE, disc, draw_state_dict, official_shapes, small_config
from policy_cases import CASES, Case, draw_crossing
from torch.nn import functional
from video_scenes import PROCESSOR

from sam2_hf.hub.conversion import convert_state_dict
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.tracking import batch
from sam2_hf.tracking.memory.dam4sam import DistractorAwareMemory
from sam2_hf.tracking.memory.samurai import SamuraiMemory

GOLDENS = Path(__file__).parents[1] / "goldens"


@dataclass(frozen=True)
class AsPublished(SamuraiMemory):
    """The authors' code looks for memories back to frame 2, and never reads frame 1 unless it is the neighbour."""

    def recent_memories(self, history, frame, reverse):
        slots = super().recent_memories(history, frame, reverse)
        return [slot for slot in slots if slot.frame > 1 or slot.frame == frame - 1]


def expected(name: str, case: str) -> dict[int, dict[str, Any]]:
    return {found["frame"]: found for found in json.loads((GOLDENS / f"policies_{name}.json").read_text())[case]}


def small_model(case: Case) -> Sam2VideoModel:
    model = Sam2VideoModel(small_config("sam2.1"))
    state = draw_state_dict(official_shapes("small-sam2.1"), case["seed"], case["offsets"])
    model.load_state_dict(convert_state_dict(state))
    return model.eval()


def watch_choices(monkeypatch, upsampled: bool) -> list[int]:
    """The candidates that are taken from now on, in the order of the frames.

    The authors measure masks of the image's size, which are upsampled; this package those of the decoder. Rounding of
    small masks to its pixels changes some decisions, so for most cases the masks are upsampled here as well.
    """
    taken, consult = [], batch.consult

    def watched(policy, states, candidates):
        if upsampled:
            masks = functional.interpolate(candidates.masks, scale_factor=4, mode="bilinear", align_corners=False)
            candidates = replace(candidates, masks=masks)
        chosen, measured = consult(policy, states, candidates)
        taken.extend(chosen.tolist())
        return chosen, measured

    monkeypatch.setattr(batch, "consult", watched)
    return taken


@pytest.mark.parametrize("name", CASES["samurai"])
def test_samurai_decides_as_its_authors_code(name, monkeypatch) -> None:
    """Of these cases, the first is decided alike on masks of either size."""
    case, frames = CASES["samurai"][name], expected("samurai", name)
    policy = AsPublished(motion_weight=case["motion_weight"], stable_frames=case["stable_frames"])
    session = PROCESSOR.init_video_session(list(draw_crossing(case["num_frames"])), memory_policy=policy)
    PROCESSOR.add_inputs_to_inference_session(session, 0, ["a"], input_masks=disc(*case["disc"]))
    taken = watch_choices(monkeypatch, upsampled=name != "low scores")
    for _ in small_model(case).propagate_in_video_iterator(session):
        pass
    results = session.tracks["a"].results
    assert taken == [found["chosen"] for found in frames.values()]
    for frame, found in frames.items():
        memories, pointers, _ = results[frame].provenance
        assert [other for other, _ in memories] == found["memories"], frame
        assert 4 * len(pointers) == found["pointers"], frame
        assert results[frame].iou.item() == pytest.approx(found["ious"][found["chosen"]], abs=2e-3)


def test_the_motion_decides_in_some_of_these_frames() -> None:
    best = [
        (found["chosen"], int(np.argmax(found["ious"])))
        for name in CASES["samurai"]
        for found in expected("samurai", name).values()
    ]
    assert sum(chosen != other for chosen, other in best) >= 5


@pytest.mark.parametrize("name", CASES["dam4sam"])
def test_dam4sam_decides_as_its_authors_code(name, monkeypatch) -> None:
    """Of these cases, all but that of the small masks are decided alike on masks of either size."""
    case, frames = CASES["dam4sam"][name], expected("dam4sam", name)
    model, clip = small_model(case), draw_crossing(case["num_frames"])
    session = PROCESSOR.init_video_session(memory_policy=DistractorAwareMemory())
    PROCESSOR.add_inputs_to_inference_session(
        session, 0, ["a"], input_masks=disc(*case["disc"]), original_size=(IMAGE_SIZE, IMAGE_SIZE)
    )
    taken, distances = watch_choices(monkeypatch, upsampled=name == "rivals"), model.pointer_distances
    results = session.tracks["a"].results
    for frame, image in enumerate(clip):
        # The authors' tracker takes the frames so far for the length of the clip.
        monkeypatch.setattr(model, "pointer_distances", lambda given, _, total=frame + 1: distances(given, total))
        model(session, frame=PROCESSOR(images=image, return_tensors="pt").pixel_values[0])
        if frame == 0:
            continue
        found, result = frames[frame], results[frame]
        memories, pointers, _ = result.provenance
        # Of conditioning frames, the authors read the last before the first.
        assert sorted(other for other, _ in memories) == sorted(found["memories"]), frame
        assert (4 * len(pointers), result.is_promoted) == (found["pointers"], found["promoted"]), frame
        # The authors encode the memory of a promoted frame anew, from the mask cut at 0, as that of a prompt.
        if not any(other["promoted"] for other in frames.values()):
            assert result.object_score.item() == pytest.approx(found["score"], abs=0.02)
    hidden = [found["chosen"] is None for found in frames.values()]
    shown = [index for index, is_hidden in enumerate(hidden) if not is_hidden]
    assert [taken[index] for index in shown] == [list(frames.values())[index]["chosen"] for index in shown]


def test_frames_are_promoted_and_hidden_in_some_of_these_cases() -> None:
    assert sum(found["promoted"] for found in expected("dam4sam", "rivals").values()) >= 3
    assert sum(found["chosen"] is None for found in expected("dam4sam", "hidden").values()) >= 3
