"""Builds Meta's models and predictors from their names, checkpoints and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..hub.conversion import read_checkpoint
from .engine import OfficialVideoModel
from .loading import build, random_network
from .modeling.sam2_base import SAM2Base
from .sam2_camera_predictor import SAM2CameraPredictor
from .sam2_video_predictor import SAM2VideoPredictor
from .settings import CONFIG_FILES

HF_MODEL_ID_TO_FILENAMES = CONFIG_FILES


def build_sam2(
    config_file: str | None,
    ckpt_path: Any = None,
    device: Any = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **kwargs: Any,
) -> SAM2Base:
    """Builds the model for `SAM2ImagePredictor` and `SAM2AutomaticMaskGenerator`.

    Args:
        config_file: one of Meta's eight YAML names; None where `ckpt_path` has a configuration of its own.
        ckpt_path: an original `.pt`; or a folder or a name on the Hub in the layout of Transformers. None for random
            weights.
        device: where the model goes; the CPU, with a warning, where CUDA is asked for and missing.
        mode: "eval", or anything else for training.
        hydra_overrides_extra: settings, each `++model.NAME=VALUE`.
        apply_postprocessing: whether a single mask that is not stable gives way to the best of three.
        kwargs: not read; accepted as Meta's function accepts them.

    Raises:
        ValueError: for unknown names and overrides, or a checkpoint that does not fit.
        FileNotFoundError: for a `.pt` that is not there.
    """
    return build(SAM2Base, config_file, ckpt_path, device, mode, hydra_overrides_extra, apply_postprocessing)


def build_sam2_video_predictor(
    config_file: str | None,
    ckpt_path: Any = None,
    device: Any = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> SAM2VideoPredictor:
    """Builds a video predictor; arguments and errors are those of `build_sam2`, and

    Args:
        config_file: see `build_sam2`, as of all others.
        apply_postprocessing: also whether holes of up to 8 pixels are filled in low-resolution masks, and prompted
            masks are binarised before they are remembered.
        vos_optimized: compile the model's parts; see `Sam2VideoModel.compile`.
    """
    settings = (hydra_overrides_extra, apply_postprocessing, vos_optimized)
    return build(SAM2VideoPredictor, config_file, ckpt_path, device, mode, *settings)


def build_sam2_camera_predictor(
    config_file: str | None,
    ckpt_path: Any = None,
    device: Any = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> SAM2CameraPredictor:
    """Builds a predictor for frames as they come; arguments are those of `build_sam2_video_predictor`."""
    settings = (hydra_overrides_extra, apply_postprocessing, vos_optimized)
    return build(SAM2CameraPredictor, config_file, ckpt_path, device, mode, *settings)


def build_network(config_file: str, image_size: int) -> OfficialVideoModel:
    """This package's model for one of Meta's eight names, with random weights: what the files in `configs` name."""
    return random_network(config_file, image_size)


def _load_checkpoint(model: SAM2Base, ckpt_path: Any) -> None:
    """Loads an original `.pt` into a model; nothing without a path. Programs call it under this name."""
    if ckpt_path is not None:
        model.load_state_dict(read_checkpoint(ckpt_path))


def build_sam2_hf(model_id: str, **kwargs: Any) -> SAM2Base:
    """`build_sam2` from a name on the Hub, such as "facebook/sam2.1-hiera-tiny", or from a folder."""
    return build_sam2(None, model_id, **kwargs)


def build_sam2_video_predictor_hf(model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
    """`build_sam2_video_predictor` from a name on the Hub or a folder."""
    return build_sam2_video_predictor(None, model_id, **kwargs)


def build_sam2_camera_predictor_hf(model_id: str, **kwargs: Any) -> SAM2CameraPredictor:
    """`build_sam2_camera_predictor` from a name on the Hub or a folder."""
    return build_sam2_camera_predictor(None, model_id, **kwargs)
