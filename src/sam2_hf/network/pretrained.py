"""What all SAM 2 models share: configuration, initialisation, loading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..configuration_sam2 import Sam2Config


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
        """Chooses how attention is computed, in the whole model or in parts of it.

        Args:
            attn_implementation: a name for all parts; or a dict of names by fields of the configuration, whose values
                may be such dicts, and in which "" stands for the part itself. Parts that it does not name stay.
            args: as in transformers.
            kwargs: as in transformers.

        Raises:
            ValueError: for an unknown name of an implementation or of a part; then nothing changes.
        """
        # The parts are plain modules, and older versions of transformers do not reach two levels deep.
        choices = list(self._choices_of_parts(self.config, attn_implementation))
        super().set_attn_implementation(_first_level(self.config, attn_implementation), *args, **kwargs)
        for part, name in choices:
            part._attn_implementation_internal = name

    def _choices_of_parts(
        self, config: PreTrainedConfig, wanted: str | dict
    ) -> Iterator[tuple[PreTrainedConfig, str | None]]:
        unknown = set() if isinstance(wanted, str) else wanted.keys() - {"", *config.sub_configs}
        if unknown:
            parts = ", ".join(map(repr, config.sub_configs)) or "no parts"
            raise ValueError(f"attn_implementation must be for {parts} of {type(config).__name__}, got {unknown}")
        for name in config.sub_configs:
            choice = wanted if isinstance(wanted, str) else wanted.get(name, {})
            part = getattr(config, name)
            own = choice if isinstance(choice, str) else choice.get("")
            if own is not None:
                yield part, self._check_and_adjust_attn_implementation(own, is_init_check=False)
            yield from self._choices_of_parts(part, choice)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        initialise = getattr(module, "initialise", None)
        if initialise is not None:
            initialise()


def _first_level(config: PreTrainedConfig, wanted: str | dict) -> str | dict:
    """The choice without what it says of parts of parts, which older versions of transformers do not take."""
    if isinstance(wanted, str):
        return wanted
    names = {}
    for name, choice in wanted.items():
        own = choice.get("") if isinstance(choice, dict) else choice
        names[name] = own if own is not None or not name else getattr(config, name)._attn_implementation
    return names


def _pass_on_attention_implementation(config: PreTrainedConfig) -> None:
    """Gives a model's attention implementation to the parts that have none of their own.

    The parts are plain modules, each of which reads it from its own configuration.
    """
    for name in config.sub_configs:
        part = getattr(config, name)
        if part._attn_implementation is None:
            part._attn_implementation_internal = config._attn_implementation
        _pass_on_attention_implementation(part)
