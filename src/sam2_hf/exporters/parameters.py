"""`parameters.json`: all that a program needs to know beside the graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..configuration_sam2 import as_pair
from ..network.mask_decoder import NO_OBJECT_LOGIT
from ..prompt_values import BOX_CORNER_LABELS, MASK_PROMPT_LIMIT, NOT_A_POINT_LABEL, PAD_VALUE
from ..version import __version__
from .catalogue import is_video

if TYPE_CHECKING:
    from ..image_processing_sam2 import Sam2ImageProcessor
    from ..network.promptable_network import Sam2PromptableNetwork
    from ..network.video_network import Sam2VideoNetwork

FORMAT, FORMAT_VERSION = "sam2_hf.export", 1

TRACKING_FIELDS = (
    "num_maskmem",
    "max_object_pointers_in_encoder",
    "max_cond_frame_num",
    "memory_selection",
    "multimask_output_in_sam",
    "multimask_min_pt_num",
    "multimask_max_pt_num",
    "multimask_output_for_tracking",
    "add_all_frames_to_correct_as_cond",
    "track_before_first_prompt",
    "fill_hole_area",
    "sigmoid_scale_for_mem_enc",
    "sigmoid_bias_for_mem_enc",
    "enable_occlusion_spatial_embedding",
    "enable_temporal_pos_encoding_for_object_pointers",
)
"""Fields of the video configuration that whoever tracks reads."""


def parameters_of(model: Sam2PromptableNetwork, image_processor: Sam2ImageProcessor) -> dict[str, Any]:
    """Collect what the graphs do not hold, as plain values.

    Args:
        model: an image or a video model.
        image_processor: that of the checkpoint.
    """
    decoder, encoder = model.config.mask_decoder_config, model.prompt_encoder
    parameters = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sam2_hf_version": __version__,
        "model_type": model.config.model_type,
        "image_size": list(as_pair("image_size", encoder.image_size)),
        "image_mean": _floats(image_processor.image_mean),
        "image_std": _floats(image_processor.image_std),
        "rescale_factor": float(image_processor.rescale_factor),
        "resample": int(image_processor.resample),
        "mask_size": list(encoder.mask_input_size),
        "embedding_size": list(encoder.image_embedding_size),
        "hidden_size": model.hidden_dim,
        "point_pad_value": PAD_VALUE,
        "not_a_point_label": NOT_A_POINT_LABEL,
        "box_corner_labels": list(BOX_CORNER_LABELS),
        "mask_threshold": 0.0,
        "mask_prompt_limit": MASK_PROMPT_LIMIT,
        "no_object_logit": NO_OBJECT_LOGIT,
        "dynamic_multimask": {
            "enabled": decoder.dynamic_multimask_via_stability,
            "stability_delta": decoder.dynamic_multimask_stability_delta,
            "stability_threshold": decoder.dynamic_multimask_stability_thresh,
        },
        "no_memory_embedding": _floats(model.no_memory_embedding.flatten().tolist()),
    }
    if is_video(model):
        parameters["memory_size"] = model.mem_dim
        parameters["video"] = _video_parameters(model)  # type: ignore[arg-type]  # `is_video` has asked
    return parameters


def _video_parameters(model: Sam2VideoNetwork) -> dict[str, Any]:
    occlusion = model.occlusion_spatial_embedding_parameter
    return {
        "config": {name: getattr(model.config, name) for name in TRACKING_FIELDS},
        "no_object_pointer": _floats(model.no_object_pointer.flatten().tolist()),
        "occlusion_spatial_embedding": None if occlusion is None else _floats(occlusion.flatten().tolist()),
        "memory_temporal_encoding": [
            _floats(row) for row in model.memory_temporal_positional_encoding.flatten(1).tolist()
        ],
    }


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]
