"""`parameters.json`: all that a program needs to know beside the graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..prompt_values import BOX_CORNER_LABELS, MASK_PROMPT_LIMIT, NO_OBJECT_LOGIT, NOT_A_POINT_LABEL, PAD_VALUE
from ..version import __version__
from .catalogue import is_video

if TYPE_CHECKING:
    from ..configuration_sam2 import Sam2VideoConfig
    from ..image_processing_sam2 import Sam2ImageProcessor
    from ..network.promptable_network import Sam2PromptableNetwork
    from ..network.video_network import Sam2VideoNetwork

FORMAT, FORMAT_VERSION = "sam2_hf.export", 1


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
        "image_size": list(encoder.image_size),
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
        parameters["video"] = _video_parameters(model)
    return parameters


def _video_parameters(model: Sam2VideoNetwork) -> dict[str, Any]:
    occlusion = model.occlusion_spatial_embedding_parameter
    return {
        "config": _plain_fields(model.config),
        "no_object_pointer": _floats(model.no_object_pointer.flatten().tolist()),
        "occlusion_spatial_embedding": None if occlusion is None else _floats(occlusion.flatten().tolist()),
        "memory_temporal_encoding": [
            _floats(row) for row in model.memory_temporal_positional_encoding.flatten(1).tolist()
        ],
    }


def _plain_fields(config: Sam2VideoConfig) -> dict[str, Any]:
    """The fields that are plain values: whoever tracks reads them by name. Those of the parts are left out."""
    fields = {name: value for name, value in config.to_dict().items() if name not in config.sub_configs}
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]
