"""Side by side with the official code and with transformers' processors, where both are installed (`-m peers`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import test_official_video_goldens as video_goldens
import torch
import transformers
from closeness import assert_close_in_scale
from goldens.official_cases import IMAGE_CASES, VIDEO_CASES
from official_goldens import OfficialCase, draw_clip, draw_state_dict, small_config, to_pixels
from test_official_goldens import prompt_inputs

from sam2_hf.configuration_sam2 import Sam2VideoConfig
from sam2_hf.convert.checkpoint_folder import convert_checkpoint
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.processing_sam2 import Sam2Processor
from sam2_hf.processing_sam2_video import Sam2VideoProcessor

pytestmark = pytest.mark.peers

SIZES = ("tiny", "small", "base-plus", "large")
CLICK = {"input_points": [[[[500, 375], [200, 100]]]], "input_labels": [[[1, 0]]]}


@pytest.fixture(scope="module")
def official() -> Any:
    """The runner of the official code, which cannot be imported elsewhere."""
    return pytest.importorskip("official_runs")


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """An official model of the tiny preset with random weights, and its converted folder."""
    build = pytest.importorskip("sam2.build_sam")
    model = build.build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(draw_state_dict(shapes, seed=0))
    return model, convert(model, tmp_path_factory.mktemp("full"))


def convert(official_model: Any, folder: Path, config: Sam2VideoConfig | None = None) -> Path:
    torch.save({"model": official_model.state_dict()}, folder / "original.pt")
    return convert_checkpoint(folder / "original.pt", folder / "converted", config=config).folder


def narrow_trunk(size: str) -> dict[str, Any]:
    """The official arguments of a preset's trunk: its blocks, windows and heads, with heads eight channels wide."""
    trunk = Sam2VideoConfig.from_preset(f"sam2.1-hiera-{size}").vision_config.backbone_config
    return {
        "embed_dim": 8 * trunk.num_attention_heads,
        "num_heads": trunk.num_attention_heads,
        "stages": trunk.blocks_per_stage,
        "global_att_blocks": trunk.global_attention_blocks,
        "window_pos_embed_bkg_spatial_size": trunk.window_positional_embedding_background_size,
        "window_spec": trunk.window_size_per_stage,
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_every_trunk_segments_images_as_the_official_one(
    official: Any, version: str, size: str, tmp_path: Path
) -> None:
    cases = {name: case for name, case in IMAGE_CASES.items() if case["version"] == version}
    trunk = narrow_trunk(size)
    theirs = official.small_model(next(iter(cases.values())), trunk)
    ours = Sam2Model.from_pretrained(convert(theirs, tmp_path, small_config(version, trunk))).eval()
    for name, case in cases.items():
        expected = official.run_image_case(theirs, case)
        inputs = prompt_inputs(OfficialCase(name, version, case, expected))
        with torch.inference_mode():
            outputs = ours(pixel_values=to_pixels(draw_clip(1)), multimask_output=case["multimask"], **inputs)
        assert_close_in_scale(outputs.pred_masks[0, 0], expected["masks"], 1e-4)
        assert_close_in_scale(outputs.iou_scores[0, 0], expected["iou_scores"], 1e-4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["one_click", "one_click_2.0", "corrected", "click_box_mask"])
def test_every_trunk_tracks_as_the_official_one(
    official: Any, name: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, trunk = VIDEO_CASES[name], narrow_trunk(size)
    theirs = official.small_model(case, trunk)
    weights = {key: tensor.clone() for key, tensor in theirs.state_dict().items()}
    expected = official.run_video_case(theirs, case)
    live = OfficialCase(name, case["version"], case, expected)
    monkeypatch.setattr(OfficialCase, "official_state_dict", lambda self: weights)
    monkeypatch.setattr(video_goldens, "small_config", partial(small_config, trunk=trunk))
    outputs = video_goldens.run_case(live)
    assert outputs.keys() == expected.keys()
    for key, value in expected.items():
        assert_close_in_scale(outputs[key], value, 2e-3)


def test_the_full_size_model_segments_an_image_as_the_official_one(full_size: tuple[Any, Path]) -> None:
    official_model, folder = full_size
    predictor_class = pytest.importorskip("sam2.sam2_image_predictor").SAM2ImagePredictor
    model, processor = Sam2Model.from_pretrained(folder).eval(), Sam2Processor.from_pretrained(folder)
    inputs = processor(images=image(), **CLICK, return_tensors="pt")
    predictor = predictor_class(official_model, disable_torch_jit=True)
    # The official predictor resizes grey levels in floating point, so it is given the pixels that the model sees.
    same_pixels = torch.nn.Identity()
    same_pixels.forward = lambda _: inputs.pixel_values[0]
    predictor._transforms.transforms = same_pixels
    predictor.set_image(image())
    masks, scores, logits = predictor.predict(*(value[0][0] for value in map(torch.tensor, CLICK.values())))
    with torch.inference_mode():
        outputs = model(**inputs)
    assert_close_in_scale(outputs.pred_masks[0, 0].clamp(-32, 32), torch.from_numpy(logits), 1e-3)
    assert_close_in_scale(outputs.iou_scores[0, 0], torch.from_numpy(scores), 1e-3)
    ours = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0][0]
    assert (ours.numpy() != masks.astype(bool)).mean() < 1e-3


def image() -> Any:
    """uint8 (height, width, 3), neither square nor of the model's size."""
    frame = torch.from_numpy(draw_clip(1)[0]).permute(2, 0, 1)[None].float()
    upsampled = torch.nn.functional.interpolate(frame, size=(600, 900), mode="bilinear")
    return upsampled[0].permute(1, 2, 0).byte().numpy()


@pytest.mark.parametrize("name", ["Sam2Processor", "Sam2VideoProcessor"])
def test_transformers_processors_load_the_converted_folder(full_size: tuple[Any, Path], name: str) -> None:
    ours = {"Sam2Processor": Sam2Processor, "Sam2VideoProcessor": Sam2VideoProcessor}[name].from_pretrained(
        full_size[1]
    )
    theirs = getattr(transformers, name).from_pretrained(full_size[1])
    given = {"images": image(), **CLICK, "return_tensors": "pt"}
    expected, inputs = theirs(**given), ours(**given)
    for key in ("input_points", "original_sizes"):
        torch.testing.assert_close(inputs[key].float(), expected[key].float())
    one_grey_level = 1 / 255 / min(theirs.image_processor.image_std)
    assert (inputs.pixel_values - expected.pixel_values).abs().max() <= one_grey_level * 1.001
