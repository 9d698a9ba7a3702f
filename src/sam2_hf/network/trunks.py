"""Trunks: the networks that turn pixels into maps of several resolutions, below the feature pyramid.

A trunk of another kind is added by `register_trunk`, with a configuration class of its own. What the rest of the model
knows of a trunk is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedConfig

from ..configuration_sam2 import register_trunk_config
from ..outputs import Sam2HieraDetModelOutput


class TrunkFeatures(NamedTuple):
    """What a trunk gives, B images.

    Args:
        stages: each stage's last map (B, H, W, C), from high to low resolution.
        hidden_states: if asked for, the embedding and every block's output (B, H, W, C).
        attentions: if asked for, every block's weights (B * windows, heads, queries, keys).
    """

    stages: tuple[torch.Tensor, ...]
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@runtime_checkable
class TrunkConfig(Protocol):
    """What a trunk's configuration says, beside what every `PreTrainedConfig` does.

    Attributes:
        model_type: the name under which it is saved and found again.
        image_size: (height, width) of the images in pixels.
        num_channels: of the images.
        channels: of every stage's map, from high to low resolution.
    """

    model_type: str
    image_size: Any
    num_channels: int

    @property
    def channels(self) -> list[int]: ...

    def feature_sizes(self) -> list[list[int]]:
        """(height, width) of every stage's map, from high to low resolution; each half of the one before."""


class Trunk(Protocol):
    """A module that is built from its configuration alone.

    It may have `input_embedding`, its first layer; `initialise()`, which gives parameters outside of torch's layers
    their first values; and `_no_split_modules`, names of classes that must not be spread over devices.
    """

    def __call__(
        self, pixel_values: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> TrunkFeatures | Sam2HieraDetModelOutput:
        """Encodes images (B, channels, H, W), normalised."""


_TRUNKS: dict[type[PreTrainedConfig], Callable[[Any], nn.Module]] = {}


def register_trunk(config_class: type[PreTrainedConfig], trunk_class: Callable[[Any], nn.Module]) -> None:
    """Makes `Sam2VisionConfig.backbone_config` take configurations of a class, and models build their trunks.

    Args:
        config_class: a `PreTrainedConfig` with what `TrunkConfig` says. Its `model_type` must be its own.
        trunk_class: what is called with such a configuration and gives a `Trunk`.

    Raises:
        ValueError: if the `model_type` belongs to another class.
    """
    register_trunk_config(config_class)
    _TRUNKS[config_class] = trunk_class


def build_trunk(config: PreTrainedConfig) -> nn.Module:
    """The trunk that a configuration describes, with weights that are not trained.

    Raises:
        ValueError: if no trunk is registered for its class.
    """
    for config_class in type(config).__mro__:
        if config_class in _TRUNKS:
            return _TRUNKS[config_class](config)
    known = ", ".join(sorted(known.__name__ for known in _TRUNKS))
    raise ValueError(f"backbone_config must be of a class with a registered trunk ({known}), got {type(config)}")
