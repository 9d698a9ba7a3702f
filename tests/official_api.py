"""Meta's predictors on the small models, for conversations of the golden cases. Needs the official `sam2` package."""

from __future__ import annotations

from typing import Any

import numpy as np
import sam2.utils.misc
import torch
from official_goldens import IMAGE_SIZE
from official_runs import small_model
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.sam2_video_predictor import SAM2VideoPredictor
from scipy import ndimage

# What `apply_postprocessing` leaves at its default when it is off.
PLAIN = {"sam_mask_decoder_extra_args": {}, "binarize_mask_from_pts_for_mem_enc": False}


def connected_components(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """In the place of the CUDA extension: labels and areas of 8-connected components of masks (N, 1, H, W)."""
    labels, areas = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    for row, single in enumerate(mask[:, 0].cpu().numpy()):
        labels[row, 0], _ = ndimage.label(single, structure=np.ones((3, 3)))
        areas[row, 0] = np.bincount(labels[row, 0].ravel())[labels[row, 0]] * (labels[row, 0] > 0)
    return torch.from_numpy(labels).to(mask.device), torch.from_numpy(areas).to(mask.device)


def official_model(case: dict[str, Any]) -> SAM2VideoPredictor:
    sam2.utils.misc.get_connected_components = connected_components
    settings = {"fill_hole_area": 8} if case["postprocessing"] else PLAIN
    return small_model({**case, "official_settings": {**settings, **case["settings"]}})


def official_image_predictor(case: dict[str, Any]) -> SAM2ImagePredictor:
    return _of_small_size(SAM2ImagePredictor(official_model(case), disable_torch_jit=True, **case["arguments"]))


def official_mask_generator(case: dict[str, Any]) -> SAM2AutomaticMaskGenerator:
    generator = SAM2AutomaticMaskGenerator(official_model(case), **case["arguments"])
    _of_small_size(generator.predictor)
    return generator


def _of_small_size(predictor: SAM2ImagePredictor) -> SAM2ImagePredictor:
    predictor._bb_feat_sizes = [(IMAGE_SIZE // stride,) * 2 for stride in (4, 8, 16)]
    return predictor
