"""An original checkpoint, converted, gives what the official image predictor gave for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from closeness import assert_close_in_scale
from official_goldens import OfficialCase, case_names, draw_clip, load_case, mask_logits, small_config, to_pixels

from sam2_hf.convert.checkpoint_folder import convert_checkpoint
from sam2_hf.modeling_sam2 import Sam2Model

CASES = case_names("image")
SINGLE = [name for name in CASES if "single" in name]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sam2Model]:
    """The small model of each version, through a `.pt` in the original layout and the converter."""
    folder = tmp_path_factory.mktemp("converted")
    return {version: convert_and_load(version, folder) for version in ("sam2", "sam2.1")}


def convert_and_load(version: str, folder: Path) -> Sam2Model:
    case = next(case for name in CASES if (case := load_case("image", name)).version == version)
    checkpoint = folder / f"{version}.pt"
    torch.save({"model": case.official_state_dict()}, checkpoint)
    converted = convert_checkpoint(checkpoint, folder / version, config=small_config(version))
    return Sam2Model.from_pretrained(converted.folder).eval()


def prompt_inputs(case: OfficialCase) -> dict[str, torch.Tensor]:
    """The model's inputs, for one image and one object. The image has the model's size: nothing is scaled."""
    given = case.prompts
    inputs = {}
    if given["points"]:
        inputs["input_points"] = torch.tensor([[given["points"]]], dtype=torch.float32)
        inputs["input_labels"] = torch.tensor([[given["labels"]]])
    if given["box"]:
        inputs["input_boxes"] = torch.tensor([[given["box"]]], dtype=torch.float32)
    if given["mask"]:
        inputs["input_masks"] = mask_logits(given["mask"])[None, None]
    return inputs


@pytest.mark.parametrize("name", CASES)
def test_masks_and_scores_equal_those_of_the_official_predictor(name: str, models: dict[str, Sam2Model]) -> None:
    case = load_case("image", name)
    with torch.inference_mode():
        outputs = models[case.version](
            pixel_values=to_pixels(draw_clip(1)),
            multimask_output=case.prompts["multimask"],
            **prompt_inputs(case),
        )
    assert_close_in_scale(outputs.pred_masks[0, 0], case.expected["masks"], 1e-4)
    assert_close_in_scale(outputs.iou_scores[0, 0], case.expected["iou_scores"], 1e-4)
    assert_close_in_scale(outputs.object_score_logits[0, 0], case.expected["object_score_logits"], 1e-4)


def test_a_mask_alone_is_a_mask_with_no_point(models: dict[str, Sam2Model]) -> None:
    case = load_case("image", "mask")
    with torch.inference_mode():
        outputs = models[case.version](
            pixel_values=to_pixels(draw_clip(1)), input_masks=prompt_inputs(case)["input_masks"]
        )
    assert_close_in_scale(outputs.pred_masks[0, 0], case.expected["masks"], 1e-4)


def test_the_cases_hold_stable_and_unstable_single_masks() -> None:
    stable = [load_case("image", name).expected["stability"].item() >= 0.98 for name in SINGLE]
    assert any(stable)
    assert not all(stable)
