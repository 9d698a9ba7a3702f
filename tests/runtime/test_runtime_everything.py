"""Everything in an image by NumPy: the masks of the pipeline in torch, over the same weights."""

from __future__ import annotations

import numpy as np
import pytest
from test_runtime_image import SIDE, draw, loaded
from torch_graphs import TorchGraphs, write_parameters

from sam2_hf.masks.rle import rle_to_array
from sam2_hf.predictors.image_engine import ModelEngine
from sam2_hf.runtime.exported_folder import ExportedFolder
from sam2_hf.runtime.image_engine import GraphEngine
from sam2_hf.runtime.processor import Processor

KEEP = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.3, "points_per_crop": 4, "crops_nms_thresh": 0.8}


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """Of the runtime and of torch."""
    model = loaded().model
    folder = ExportedFolder(write_parameters(model, tmp_path_factory.mktemp("exported")))
    return GraphEngine(TorchGraphs(model), Processor(folder)), ModelEngine(loaded())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pred_iou_thresh": 0.45, "stability_score_thresh": 0.6},
        {"multimask_output": False, "pred_iou_thresh": 0.4},
        {"use_m2m": True, "points_per_batch": 5, "pred_iou_thresh": 0.4},
        {"points_per_side": 3, "nms": "mask", "min_mask_region_area": 20, "low_res_region_area": 4},
        {"max_hole_area": 30, "max_sprinkle_area": 30, "box_nms_thresh": 0.7},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_the_masks_are_those_of_torch(settings, engines):
    given = {**KEEP, **settings}
    if "points_per_side" in settings:
        del given["points_per_crop"]
    ours, theirs = (engine.find_everything(draw(SIDE, SIDE), given) for engine in engines)
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one["point_coords"] == other["point_coords"] and one["crop_box"] == other["crop_box"]
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-5)
        assert one["stability_score"] == pytest.approx(other["stability_score"], abs=2e-3)
        differs = rle_to_array(one["segmentation"]) != rle_to_array(other["segmentation"])
        assert differs.mean() < 1e-3  # logits of zero, up to rounding


@pytest.mark.parametrize(
    "parts", [{"crops_n_layers": 1}, {"tile_size": 96, "tile_overlap": 40}], ids=["crops", "tiles"]
)
def test_parts_of_an_image_are_searched_too(parts, engines):
    """Parts are upsampled, and Pillow's pixels differ from torch's by a grey level here and there."""
    image = draw(140, 170)
    keep = {**KEEP, "points_per_crop": 3, "crops_nms_thresh": 1.0, "nms": "mask"}
    ours, theirs = (engine.find_everything(image, {**keep, **parts}) for engine in engines)
    assert abs(len(ours) - len(theirs)) <= 0.1 * len(theirs) and len(theirs) > 4
    assert {tuple(record["crop_box"]) for record in ours} == {tuple(record["crop_box"]) for record in theirs}


def test_what_is_wrong_is_named(engines):
    ours, _ = engines
    with pytest.raises(TypeError, match="did you mean 'points_per_side'"):
        ours.find_everything(draw(20, 20), {"points_per_sid": 4})
    with pytest.raises(ValueError, match="pred_iou_thresh must be a number up to 1, got 3"):
        ours.find_everything(draw(20, 20), {"pred_iou_thresh": 3})
    with pytest.raises(TypeError, match="output_mode"):
        ours.find_everything(draw(20, 20), {"output_mode": "coco_rle"})


def test_thresholds_of_the_folder_are_taken(engines, tmp_path):
    import json

    path = write_parameters(loaded().model, tmp_path) / "parameters.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mask_generation": {"pred_iou_thresh": 0.5}}))
    assert GraphEngine(engines[0]._graphs, Processor(ExportedFolder(tmp_path))).thresholds == {"pred_iou_thresh": 0.5}
    assert engines[0].thresholds == {}
    assert np.isfinite(ExportedFolder(tmp_path).thresholds["pred_iou_thresh"])
