"""This package's models, set to behave as Meta's predictors do."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from ..configuration_sam2 import Sam2Config
from ..modeling_sam2 import Sam2Model
from ..modeling_sam2_video import Sam2VideoModel
from ..outputs import Sam2VideoSegmentationOutput
from ..tracking.session import Sam2VideoInferenceSession
from ..tracking.step import FrameStep
from .settings import OFFICIAL_BEHAVIOUR

ModelT = TypeVar("ModelT", bound=nn.Module)


class OfficialVideoModel(Sam2VideoModel):
    """`Sam2VideoModel` with what Meta's video predictor does and the model has no public name for."""

    @torch.inference_mode()
    def read_results(self, session: Sam2VideoInferenceSession, frame_idx: int) -> Sam2VideoSegmentationOutput:
        """Returns the masks of all objects in a frame as they are known, without computing any."""
        return self._output(FrameStep(self, self.memory_policy, session), frame_idx)


def share_parts(model: nn.Module, twin: ModelT) -> ModelT:
    """Gives `twin` the modules, parameters and buffers of `model` that it has room for.

    Args:
        model: the model that owns the weights.
        twin: a model of a kind with the same parts, best made on the meta device.

    Returns:
        `twin`, which shares all weights with `model` from now on.
    """
    for name, _ in list(twin.named_children()):
        setattr(twin, name, getattr(model, name))
    for name, _ in list(twin.named_parameters(recurse=False)):
        setattr(twin, name, getattr(model, name))
    return twin.train(model.training)


def as_official(model: Sam2VideoModel) -> OfficialVideoModel:
    """The same video model as an `OfficialVideoModel`, sharing its weights, with Meta's settings."""
    if isinstance(model, OfficialVideoModel):
        return model
    config = copy.deepcopy(model.config)
    for name, value in OFFICIAL_BEHAVIOUR.items():
        setattr(config, name, value)
    with torch.device("meta"):
        twin = OfficialVideoModel(config)
    return share_parts(model, twin)


def image_model_of(model: Sam2VideoModel) -> Sam2Model:
    """The image model that a video model holds, sharing its weights."""
    config = Sam2Config(
        vision_config=model.config.vision_config,
        prompt_encoder_config=model.config.prompt_encoder_config,
        mask_decoder_config=model.config.mask_decoder_config,
    )
    with torch.device("meta"):
        twin = Sam2Model(config)
    return share_parts(model, twin)
