"""What all SAM 2 models share: configuration, initialisation, loading."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..configuration_sam2 import Sam2Config, Sam2VisionConfig


class PreTrainedNetwork(PreTrainedModel):
    """Base of all networks of SAM 2.

    A part whose parameters or buffers belong to no layer of torch gives them their first values in `initialise()`.
    """

    config_class = Sam2Config
    base_model_prefix = "sam2"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    # A model may be spread over devices between these parts, and those that its trunk names, never within them.
    _no_split_modules = [  # noqa: RUF012
        "FpnNeck",
        "PromptEncoder",
        "MaskDecoder",
        "MemoryAttention",
        "MemoryEncoder",
    ]

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any):
        super().__init__(config, *args, **kwargs)
        _pass_on_attention_implementation(config)

    def set_attn_implementation(self, attn_implementation: str | dict, *args: Any, **kwargs: Any) -> None:
        """As in transformers, of which older versions do not reach the trunk, two levels deep in the configuration."""
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        vision = self.config if isinstance(self.config, Sam2VisionConfig) else self.config.vision_config
        vision.backbone_config._attn_implementation = vision._attn_implementation

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        initialise = getattr(module, "initialise", None)
        if initialise is not None:
            initialise()


def _pass_on_attention_implementation(config: PreTrainedConfig) -> None:
    """Gives a model's attention implementation to the parts that have none of their own.

    The parts are plain modules, each of which reads it from its own configuration.
    """
    for name in config.sub_configs:
        part = getattr(config, name)
        if part._attn_implementation is None:
            part._attn_implementation_internal = config._attn_implementation
        _pass_on_attention_implementation(part)
