"""Mask generation beside transformers' pipeline and the official generator, on the same weights (`-m peers`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from goldens.official_cases import IMAGE_CASES
from official_goldens import IMAGE_SIZE, small_config
from PIL import Image
from test_peers_official import convert
from tiny import tiny_image_model

from sam2_hf import Sam2ImageProcessor, Sam2MaskGenerationPipeline, Sam2Model
from sam2_hf.masks.rle import rle_to_mask

pytestmark = pytest.mark.peers

# Thresholds under which random masks, not stable and alike, come through in numbers.
LOOSE = {"points_per_crop": 8, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.6, "crops_nms_thresh": 1.0}
HALF_STABLE = {"stability_score_thresh": 0.3}


def draw(height: int, width: int) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def theirs() -> Any:
    """transformers' pipeline with the weights of the tiny model."""
    image_processing = pytest.importorskip("transformers.models.sam2.image_processing_sam2")
    from transformers import MaskGenerationPipeline
    from transformers_reference import reference_of

    processor = image_processing.Sam2ImageProcessor(size={"height": 128, "width": 128})
    return MaskGenerationPipeline(model=reference_of(tiny_image_model()), image_processor=processor, device="cpu")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"crops_n_layers": 1},
        {"crops_n_layers": 1, "crops_nms_thresh": 0.9, "pred_iou_thresh": 0.0, "mask_threshold": 3.0} | HALF_STABLE,
        {"mask_threshold": 0.5, "stability_score_offset": 0.5},
    ],
    ids=lambda options: "-".join(options) or "loose",
)
def test_equals_transformers_on_a_square(theirs: Any, options: dict[str, Any]) -> None:
    """On a square alone are transformers' points where they should be."""
    ours = Sam2MaskGenerationPipeline(
        model=tiny_image_model(), image_processor=Sam2ImageProcessor(size=128), device="cpu"
    )
    arguments = {**LOOSE, **options, "output_rle_mask": True, "output_bboxes_mask": True}
    found, expected = ours(draw(200, 200), **arguments), theirs(draw(200, 200), **arguments)
    assert found.keys() == expected.keys()
    assert len(found["masks"]) == len(expected["masks"]) > 5
    torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-4, rtol=0)
    assert torch.equal(found["bounding_boxes"], expected["bounding_boxes"])
    for mask, their_mask, their_rle in zip(found["masks"], expected["masks"], expected["rle_mask"], strict=True):
        assert (mask != their_mask).sum() <= 4  # pixels whose logit is the threshold up to rounding
        assert torch.equal(rle_to_mask(their_rle), their_mask)


class OurPixels(torch.nn.Module):
    """Stands in for the official resizing, which is in floating point and not in bytes: random models feel it."""

    def __init__(self, image_processor: Sam2ImageProcessor):
        super().__init__()
        self.image_processor = image_processor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pixels = (image * 255).round().to(torch.uint8)
        return self.image_processor(pixels, return_tensors="pt")["pixel_values"][0]


def by_prompt(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records crop by crop, point by point, best first; those without pixels left out."""
    full = [record for record in records if record["segmentation"].any()]
    return sorted(full, key=lambda record: (record["crop_box"], record["point_coords"], -record["predicted_iou"]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "mask_threshold": 2.0},
        {"multimask_output": False},
        {"use_m2m": True},
    ],
    ids=["plain", "crops", "single", "m2m"],
)
def test_equals_the_official_generator_on_any_shape(options: dict[str, Any], tmp_path: Path) -> None:
    module = pytest.importorskip("sam2.automatic_mask_generator")
    from official_runs import small_model

    case = next(case for case in IMAGE_CASES.values() if case["version"] == "sam2.1")
    original = small_model(case)
    ours = Sam2MaskGenerationPipeline(
        model=Sam2Model.from_pretrained(convert(original, tmp_path, small_config("sam2.1"))),
        image_processor=Sam2ImageProcessor(size=IMAGE_SIZE),
        device="cpu",
    )
    # Everything comes through, so that no threshold decides between nearly equal values.
    everything = {"points_per_side": 6, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, **options}
    everything |= {"box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}
    generator = module.SAM2AutomaticMaskGenerator(original, **everything)
    generator.predictor._transforms.transforms = OurPixels(ours.image_processor)
    generator.predictor._bb_feat_sizes = [(IMAGE_SIZE // stride,) * 2 for stride in (4, 8, 16)]
    image = draw(150, 260)
    expected = by_prompt(generator.generate(np.asarray(image)))
    found = by_prompt(ours(image, output_mode="binary_mask", **everything))
    assert len(found) == len(expected) > 30
    assert len({tuple(record["crop_box"]) for record in found}) > ("crop_n_layers" in options)
    # A mask that is given back carries its rounding along, and random weights amplify it.
    tolerance = 5e-3 if "use_m2m" in options else 1e-3
    for record, official in zip(found, expected, strict=True):
        assert record["crop_box"] == official["crop_box"]
        assert record["point_coords"][0] == pytest.approx(official["point_coords"][0], abs=1e-3)
        assert record["predicted_iou"] == pytest.approx(official["predicted_iou"], abs=tolerance)
        assert record["stability_score"] == pytest.approx(official["stability_score"], abs=tolerance)
        assert (record["segmentation"] != official["segmentation"]).mean() < 1e-3
