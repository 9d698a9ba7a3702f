"""The models of transformers with our weights, to compare with."""

from __future__ import annotations

from torch import nn
from transformers.models.sam2.configuration_sam2 import Sam2Config as ReferenceConfig
from transformers.models.sam2.modeling_sam2 import Sam2Model as ReferenceModel
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig as ReferenceVideoConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel as ReferenceVideoModel

__all__ = ["ReferenceConfig", "ReferenceModel", "ReferenceVideoConfig", "ReferenceVideoModel", "reference_of"]


def reference_of(ours: nn.Module) -> ReferenceModel:
    """transformers' image model with the configuration, the weights and the mode of ours."""
    values = ours.config.to_dict()
    values.pop("model_type")
    theirs = ReferenceModel(ReferenceConfig(**values))
    theirs.load_state_dict(ours.state_dict())
    return theirs.train(ours.training)
