"""Meta's API of SAM 2 on this package: the classes and functions of `sam2`, with the same calls and results.

`sam2_hf.as_sam2` puts these modules under the name `sam2`, so that programs run unchanged. docs/official.md says what
is there and what differs.
"""

from __future__ import annotations

from .automatic_mask_generator import SAM2AutomaticMaskGenerator
from .build_sam import (
    build_sam2,
    build_sam2_camera_predictor,
    build_sam2_camera_predictor_hf,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from .sam2_camera_predictor import SAM2CameraPredictor
from .sam2_image_predictor import SAM2ImagePredictor
from .sam2_video_predictor import SAM2VideoPredictor

__all__ = [
    "SAM2AutomaticMaskGenerator",
    "SAM2CameraPredictor",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "build_sam2",
    "build_sam2_camera_predictor",
    "build_sam2_camera_predictor_hf",
    "build_sam2_hf",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
]
