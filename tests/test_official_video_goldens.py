"""An original checkpoint, converted, tracks as the official video predictor does: the same steps, frame by frame."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from closeness import assert_close_in_scale
from official_goldens import IMAGE_SIZE, OfficialCase, case_names, disc, draw_clip, load_case, small_config

from sam2_hf.hub.conversion import convert_state_dict
from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.processing_sam2_video import Sam2VideoProcessor
from sam2_hf.tracking.session import Sam2VideoInferenceSession

CASES = case_names("video")
# What the official predictor calls its settings, and what they are called here.
SETTINGS = {
    "add_all_frames_to_correct_as_cond": "add_all_frames_to_correct_as_cond",
    "max_cond_frames_in_attn": "max_cond_frame_num",
}
# A clip of the golden cases has the model's size, so nothing is resized.
PROCESSOR = Sam2VideoProcessor(Sam2ImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}))


def official_behaviour(case: OfficialCase) -> Sam2VideoModel:
    """The converted model with the flags that undo this package's departures."""
    settings = {"add_all_frames_to_correct_as_cond": False, **case.prompts["official_settings"]}
    flags = {SETTINGS[name]: value for name, value in settings.items()}
    model = Sam2VideoModel(small_config(case.version, track_before_first_prompt=True, **flags))
    model.load_state_dict(convert_state_dict(case.official_state_dict()))
    return model.eval()


def give_prompt(session: Sam2VideoInferenceSession, step: dict[str, Any]) -> None:
    inputs: dict[str, Any] = {"frame_idx": step["frame"], "obj_ids": step["object"]}
    if step["do"] == "mask":
        inputs["input_masks"] = disc(*step["disc"])
    else:
        inputs["clear_old_inputs"] = step["clear_old"]
        if step["points"]:
            inputs["input_points"], inputs["input_labels"] = [[step["points"]]], [[step["labels"]]]
        if step["box"]:
            inputs["input_boxes"] = [[step["box"]]]
    PROCESSOR.add_inputs_to_inference_session(session, **inputs)


def run_case(case: OfficialCase) -> dict[str, torch.Tensor]:
    """What is stored of every object after every step that the official code was asked to give."""
    model = official_behaviour(case)
    session = PROCESSOR.init_video_session(list(draw_clip(case.prompts["num_frames"])))
    outputs: dict[str, torch.Tensor] = {}

    def record(step: int, frame: int, obj_id: int) -> None:
        result = session.tracks[obj_id].results[frame]
        outputs[f"{step}/{frame}/{obj_id}/logits"] = result.mask_logits[0]
        outputs[f"{step}/{frame}/{obj_id}/object_score"] = result.object_score
        outputs[f"{step}/{frame}/{obj_id}/pointer"] = result.memory.pointer

    for index, step in enumerate(case.prompts["steps"]):
        if step["do"] == "propagate":
            for output in model.propagate_in_video_iterator(session, step["start"], step["count"], step["reverse"]):
                for obj_id in output.object_ids if step["record"] is None or output.frame_idx in step["record"] else ():
                    record(index, output.frame_idx, obj_id)
        else:
            give_prompt(session, step)
            model(session, frame_idx=step["frame"])
            record(index, step["frame"], step["object"])
    return outputs


def assert_same_mask(logits: torch.Tensor, expected: torch.Tensor) -> None:
    """IoU over 0.999, or a single pixel apart: of the smallest masks here, one pixel is already more than that.

    Which side of zero a logit of rounding's size falls on is the processor's choice.
    """
    mask, truth = logits > 0, expected > 0
    union, different = (mask | truth).sum().item(), (mask ^ truth).sum().item()
    assert different <= 1 or different / union < 0.001


@pytest.mark.parametrize("name", CASES)
def test_masks_scores_and_pointers_equal_those_of_the_official_predictor(name: str) -> None:
    case = load_case("video", name)
    outputs = run_case(case)
    assert outputs.keys() == case.expected.keys()
    for key, expected in case.expected.items():
        assert_close_in_scale(outputs[key], expected, 2e-3)
        if key.endswith("logits"):
            assert_same_mask(outputs[key], expected)
