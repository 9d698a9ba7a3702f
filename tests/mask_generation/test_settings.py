"""What is accepted as an argument of mask generation, and what is said about the rest."""

import math

import numpy as np
import pytest
import torch

from sam2_hf.mask_generation.settings import MaskGenerationSettings, OutputSettings, resolve_names

REFUSED = [
    ("points_per_batch", 0),
    ("points_per_batch", -64),
    ("points_per_batch", 1.5),
    ("points_per_batch", True),
    ("points_per_crop", 0),
    ("points_per_crop", None),
    ("crops_n_layers", -1),
    ("crops_n_layers", 1.0),
    ("crop_overlap_ratio", 1.0),
    ("crop_overlap_ratio", -0.1),
    ("crop_n_points_downscale_factor", 0),
    ("multimask_output", 1),
    ("use_m2m", "yes"),
    ("pred_iou_thresh", 88),
    ("pred_iou_thresh", math.nan),
    ("stability_score_thresh", 1.1),
    ("stability_score_thresh", None),
    ("stability_score_offset", -1),
    ("mask_threshold", math.inf),
    ("mask_threshold", "0"),
    ("max_hole_area", -1),
    ("max_sprinkle_area", -1),
    ("min_mask_region_area", None),
    ("low_res_region_area", -1),
    ("nms", "both"),
    ("box_nms_thresh", 1.5),
    ("crops_nms_thresh", None),
    ("point_grids", 3),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_impossible_values_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got "):
        MaskGenerationSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("output_mode", "png"), ("output_rle_mask", 1), ("output_bboxes_mask", None), ("polygon_tolerance", -1)],
)
def test_impossible_outputs_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got "):
        OutputSettings(**{name: value})


@pytest.mark.parametrize(
    "values",
    [
        {"points_per_batch": None, "max_hole_area": None, "max_sprinkle_area": None, "box_nms_thresh": None},
        {"pred_iou_thresh": -1, "stability_score_thresh": 0, "crop_overlap_ratio": 0},
        {"points_per_crop": np.int64(4), "pred_iou_thresh": np.float32(0.5)},
    ],
)
def test_values_that_switch_something_off_and_numpy_numbers_are_fine(values):
    MaskGenerationSettings(**values)


def test_grids_thin_out_layer_by_layer():
    settings = MaskGenerationSettings(points_per_crop=16, crops_n_layers=2, crop_n_points_downscale_factor=3)
    assert [len(settings.grid(layer)) for layer in range(3)] == [256, 25, 1]


def test_a_layer_without_points_is_refused():
    with pytest.raises(ValueError, match=r"crop_n_points_downscale_factor=3 leaves no points .* layer 3"):
        MaskGenerationSettings(points_per_crop=16, crops_n_layers=3, crop_n_points_downscale_factor=3)


def test_own_grids():
    grid = np.array([[0.25, 0.5], [1.0, 0.0]])
    settings = MaskGenerationSettings(point_grids=[grid, [[0.5, 0.5]]], crops_n_layers=1)
    assert settings.grid(0).tolist() == grid.tolist()
    assert settings.grid(1).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ([], r"grid for each of the 1 layers"),
        ([[0.5, 0.5]], r"point_grids\[0\] must be \(points, 2\).* shape \(2,\)"),
        ([torch.zeros(0, 2)], r"point_grids\[0\] must be \(points, 2\)"),
        ([[[0.5, 300.0]]], r"point_grids\[0\] must lie between 0 and 1"),
        (["left"], r"point_grids\[0\] must be \(points, 2\) as \(x, y\), got 'left'"),
        ([[[0.5, math.nan]]], r"point_grids\[0\] must lie between 0 and 1"),
    ],
)
def test_impossible_grids_are_refused(grids, message):
    with pytest.raises(ValueError, match=message):
        MaskGenerationSettings(point_grids=grids)


def test_names_of_other_libraries_are_understood():
    given = {"output_rle_masks": 1, "points_per_side": 2, "crop_n_layers": 3, "crop_nms_thresh": 4, "timeout": 5}
    assert resolve_names(given) == {
        "output_rle_mask": 1,
        "points_per_crop": 2,
        "crops_n_layers": 3,
        "crops_nms_thresh": 4,
        "timeout": 5,
    }


def test_unknown_names_are_refused_with_a_hint():
    with pytest.raises(TypeError, match=r"'pred_iou_tresh'; did you mean 'pred_iou_thresh'\?"):
        resolve_names({"pred_iou_tresh": 0.5})
    with pytest.raises(TypeError, match=r"'point_per_side'; did you mean 'points_per_side'\?"):
        resolve_names({"point_per_side": 8})
    with pytest.raises(TypeError, match=r"'zzz'; there are .*points_per_batch"):
        resolve_names({"zzz": 0.5})


def test_one_argument_under_two_names_is_refused():
    with pytest.raises(TypeError, match="'points_per_crop' under two names"):
        resolve_names({"points_per_side": 2, "points_per_crop": 2})
