"""Everything public that transformers' SAM 2 classes have, on ours: names, arguments, attributes, outputs.

What is looked for is read from the transformers that is installed, so a new release that adds something fails here.
Differences stand in `EXCEPTIONS`, with a reason each.
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from functools import cache

import pytest
import torch
from tiny import tiny_image_model, tiny_video_model
from transformers.models.sam2 import modeling_sam2 as reference
from transformers.models.sam2_video import modeling_sam2_video as video_reference
from transformers_surface import classes, exported_names

import sam2_hf
from sam2_hf import outputs
from sam2_hf.network.mask_decoder import MaskDecoder
from sam2_hf.network.memory_attention import MemoryAttention
from sam2_hf.network.memory_encoder import MemoryEncoder
from sam2_hf.network.prompt_encoder import PromptEncoder
from sam2_hf.tracking.transformers_names import VisionFeatures

# Parts that are called in programs, though transformers does not export their classes.
PARTS = {
    "Sam2PromptEncoder": PromptEncoder,
    "Sam2MaskDecoder": MaskDecoder,
    "Sam2VideoPromptEncoder": PromptEncoder,
    "Sam2VideoMaskDecoder": MaskDecoder,
    "Sam2VideoMemoryAttention": MemoryAttention,
    "Sam2VideoMemoryEncoder": MemoryEncoder,
    "Sam2VideoInferenceCache": VisionFeatures,
}
OUTPUTS = {
    "Sam2VisionEncoderOutput": outputs.Sam2VisionEncoderOutput,
    "Sam2VideoVisionEncoderOutput": outputs.Sam2VisionEncoderOutput,
    "Sam2HieraDetModelOutput": outputs.Sam2HieraDetModelOutput,
    "Sam2ImageSegmentationOutput": outputs.Sam2ImageSegmentationOutput,
    "Sam2VideoSegmentationOutput": outputs.Sam2VideoSegmentationOutput,
}

_NO_PADDING = "None there, and read by nothing: SAM 2 stretches images and pads none"
_IN_CONFIG = "read from `config` when it is needed, so that a change there counts"
_ROTARY = "the table of rotary angles is `rotary`, a table of real numbers that is built once"
_FILLED_BY_THE_MODEL = "the cache of features belongs to a session and is filled by the model alone"

EXCEPTIONS: dict[str, str] = {
    **{f"Sam2ImageProcessor.{name}": _NO_PADDING for name in ("do_pad", "pad_size", "mask_pad_size")},
    **{
        f"{decoder}.dynamic_multimask_{name}": _IN_CONFIG
        for decoder in ("Sam2MaskDecoder", "Sam2VideoMaskDecoder")
        for name in ("stability_delta", "stability_thresh", "via_stability")
    },
    "Sam2MaskDecoder.activation": "always GELU, and no module",
    "Sam2VideoMaskDecoder.activation": "always GELU, and no module",
    "Sam2VideoMemoryAttention.config": "the model has it",
    "Sam2VideoMemoryAttention.position_ids": _ROTARY,
    "Sam2VideoMemoryAttention.rotary_emb": _ROTARY,
    "Sam2VideoMemoryAttention.precompute_positions": _ROTARY,
    "Sam2VideoInferenceCache.inference_device": _FILLED_BY_THE_MODEL,
    "Sam2VideoInferenceCache.inference_state_device": _FILLED_BY_THE_MODEL,
    "Sam2VideoInferenceCache.__init__(inference_device)": _FILLED_BY_THE_MODEL,
    "Sam2VideoInferenceCache.__init__(inference_state_device)": _FILLED_BY_THE_MODEL,
    "Sam2VideoInferenceCache.__init__(max_vision_features_cache_size)": _FILLED_BY_THE_MODEL,
    "Sam2VideoInferenceCache.cache_vision_features": _FILLED_BY_THE_MODEL,
}
"""By "Class.name" or "Class.method(argument)": why ours has no such thing."""

EXPORTED = exported_names()
CALLED = [*EXPORTED, *PARTS]


def ours(name: str) -> type:
    return PARTS[name] if name in PARTS else getattr(sam2_hf, name)


@cache
def instance(name: str) -> object:
    """An object of our class."""
    image_processor = sam2_hf.Sam2ImageProcessor()
    if name.endswith("Config"):
        return ours(name)()
    if name == "Sam2Processor":
        return sam2_hf.Sam2Processor(image_processor)
    if name == "Sam2VideoProcessor":
        return sam2_hf.Sam2VideoProcessor(image_processor)
    if name.endswith(("ImageProcessor", "VideoProcessor")):
        return ours(name)()
    session = sam2_hf.Sam2VideoInferenceSession()
    if name in ("Sam2VideoInferenceSession", "Sam2VideoInferenceCache"):
        return session if name == "Sam2VideoInferenceSession" else session.cache
    model = tiny_video_model() if "Video" in name else tiny_image_model()
    parts = {
        "HieraDetModel": model.vision_encoder.backbone,
        "VisionModel": model.vision_encoder,
        "PromptEncoder": model.prompt_encoder,
        "MaskDecoder": model.mask_decoder,
        "MemoryAttention": getattr(model, "memory_attention", None),
        "MemoryEncoder": getattr(model, "memory_encoder", None),
    }
    return parts.get(name.removeprefix("Sam2").removeprefix("Video"), model)


def lacking() -> dict[str, str]:
    """What transformers has and we lack, by its name in the table, with what was found instead."""
    found = {}
    for name in CALLED:
        surface = classes()[name]
        if not hasattr(sam2_hf, name) and name not in PARTS:
            found[name] = "is not exported"
            continue
        for attribute in (*surface.fields, *surface.attributes, *surface.properties):
            if not hasattr(instance(name), attribute):
                found[f"{name}.{attribute}"] = "is no attribute"
        for method, arguments in surface.methods.items():
            if not hasattr(ours(name), method):
                found[f"{name}.{method}"] = "is no method"
                continue
            found.update(_lacking_arguments(name, method, arguments))
    return found


def _lacking_arguments(name: str, method: str, arguments: list[str]) -> dict[str, str]:
    parameters = inspect.signature(getattr(ours(name), method)).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    by_position = [
        key for key, value in parameters.items() if value.kind is value.POSITIONAL_OR_KEYWORD and key != "self"
    ]
    found = {}
    for position, argument in enumerate(arguments):
        if argument not in parameters and not takes_any:
            found[f"{name}.{method}({argument})"] = "is no argument"
        elif argument in by_position and by_position.index(argument) != position:
            found[f"{name}.{method}({argument})"] = f"is argument {by_position.index(argument)}, there {position}"
    return found


def test_what_is_lacking_is_in_the_table_and_nothing_else():
    found = lacking()
    assert {name: what for name, what in found.items() if name not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() - found.keys() == set(), "exceptions that no longer are"


def test_something_is_looked_for():
    surfaces = [classes()[name] for name in CALLED]
    assert {"Sam2Model", "Sam2VideoModel", "Sam2Processor", "Sam2VideoProcessor", "Sam2ImageProcessor"} <= set(EXPORTED)
    assert sum(len(surface.methods) for surface in surfaces) > 40
    assert sum(len(surface.fields) + len(surface.attributes) for surface in surfaces) > 200


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_have_the_fields_in_the_same_order(name):
    theirs = getattr(video_reference if "Video" in name else reference, name)
    expected = [field.name for field in fields(theirs)]
    names = [field.name for field in fields(OUTPUTS[name])]
    assert [field for field in names if field in expected] == expected
    # What transformers does not have is None unless asked for, or stands last.
    further = [field for field in names if field not in expected]
    assert further in ([], ["loss"]) or names[-len(further) :] == further


def test_every_output_of_theirs_is_compared():
    named = {name for name in classes() if name.endswith("Output")}
    # Of a method that is private there.
    assert named - OUTPUTS.keys() == {"Sam2VideoImageSegmentationOutput"}


def test_the_video_classes_have_the_relations_of_theirs():
    assert issubclass(sam2_hf.Sam2VideoModel, sam2_hf.Sam2VideoPreTrainedModel)
    assert issubclass(sam2_hf.Sam2HieraDetModel, sam2_hf.Sam2PreTrainedModel)
    assert type(tiny_image_model().vision_encoder.backbone) is sam2_hf.Sam2HieraDetModel
    assert sam2_hf.Sam2VideoPreTrainedModel.base_model_prefix == "sam2_video"
    assert video_reference.Sam2VideoPreTrainedModel.base_model_prefix == "sam2_video"


def test_the_trunk_is_saved_and_loaded_by_itself(tmp_path):
    trunk = tiny_image_model().vision_encoder.backbone
    trunk.save_pretrained(tmp_path)
    loaded = sam2_hf.Sam2HieraDetModel.from_pretrained(tmp_path)
    pixels = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(pixels).last_hidden_state, trunk(pixels).last_hidden_state)
