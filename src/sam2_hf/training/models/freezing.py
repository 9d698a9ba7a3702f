"""Freezing of parts of a model."""

from __future__ import annotations

from typing import Literal

from torch import nn

Preset = Literal["nothing", "image_encoder", "all_but_memory", "all_but_decoder"]

_MEMORY = (
    "memory_attention",
    "memory_encoder",
    "memory_temporal_positional_encoding",
    "object_pointer_proj",
    "no_object_pointer",
    "mask_downsample",
    "temporal_positional_encoding_projection_layer",
    "occlusion_spatial_embedding_parameter",
)
# For each preset the parts that still learn, or those that do not.
_LEARNS: dict[str, tuple[str, ...]] = {"all_but_memory": _MEMORY, "all_but_decoder": ("mask_decoder",)}
_FROZEN: dict[str, tuple[str, ...]] = {"nothing": (), "image_encoder": ("vision_encoder",)}


def freeze(model: nn.Module, preset: Preset) -> int:
    """Freeze parts of a `Sam2Model` or `Sam2VideoModel`, and let the others learn.

    | preset | for |
    |---|---|
    | "nothing" | everything learns |
    | "image_encoder" | new kinds of objects in familiar images; saves most of the memory |
    | "all_but_memory" | tracking alone: other frame rates, longer occlusions |
    | "all_but_decoder" | other masks of familiar objects; little data |

    Args:
        model: changed in place.
        preset: what is frozen.

    Returns:
        The number of parameters that learn.

    Raises:
        ValueError: for another preset, and if nothing would learn, as with "all_but_memory" for a `Sam2Model`.
    """
    if preset not in _LEARNS and preset not in _FROZEN:
        raise ValueError(f"preset must be one of {sorted((*_FROZEN, *_LEARNS))}, got {preset!r}")
    count = 0
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        learns = part in _LEARNS[preset] if preset in _LEARNS else part not in _FROZEN[preset]
        parameter.requires_grad_(learns)
        count += parameter.numel() if learns else 0
    if count == 0:
        raise ValueError(f"{type(model).__name__} has nothing left to learn with the preset {preset!r}")
    return count
