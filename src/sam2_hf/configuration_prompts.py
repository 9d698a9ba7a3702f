"""Configurations of the prompt encoder and the mask decoder, as image and video checkpoints name them."""

from __future__ import annotations

from typing import Any

from .configuration_checks import (
    MOST_LAYERS,
    CheckedConfig,
    activation,
    checked,
    flag,
    number,
    require,
    shortest_size,
    whole,
)
from .sizes import read_size


class Sam2PromptEncoderConfig(CheckedConfig):
    """Embedding of points, boxes and masks. `image_size` and `patch_size` are pixels of the model's input."""

    model_type = "sam2_prompt_encoder"
    base_config_key = "prompt_encoder_config"

    hidden_size: int = checked(whole(), 256)
    image_size: Any = checked(shortest_size, 1024)
    patch_size: Any = checked(shortest_size, 16)
    mask_input_channels: int = checked(whole(), 16)
    num_point_embeddings: int = checked(whole(), 4)
    hidden_act: str = checked(activation, "gelu")
    layer_norm_eps: float = checked(number(above=0), 1e-6)
    scale: int | float = 1

    def check(self) -> None:
        """Check the fields and that they fit. Raises a `ValueError` that names the fields."""
        super().check()
        number(at_least=0)("scale", self.scale)  # published files have an integer, which stays one
        require(
            self.num_point_embeddings >= 4,
            f"num_point_embeddings must be at least 4 (two kinds of points, two corners), got "
            f"{self.num_point_embeddings}",
        )
        require(
            self.mask_input_channels % 4 == 0,
            f"mask_input_channels must be a multiple of 4, got {self.mask_input_channels}",
        )

    @property
    def image_embedding_size(self) -> tuple[int, int]:
        """(height, width) of the image embedding that prompts are combined with."""
        image, patch = read_size(self.image_size, "image_size"), read_size(self.patch_size, "patch_size")
        return image[0] // patch[0], image[1] // patch[1]


class Sam2MaskDecoderConfig(CheckedConfig):
    """Two-way transformer and mask heads.

    `dynamic_multimask_*` governs the fall-back of a single, unstable mask to the best of the multimask outputs.
    """

    model_type = "sam2_mask_decoder"
    base_config_key = "mask_decoder_config"

    hidden_size: int = checked(whole(), 256)
    hidden_act: str = checked(activation, "gelu")
    mlp_dim: int = checked(whole(), 2048)
    num_hidden_layers: int = checked(whole(at_most=MOST_LAYERS), 2)
    num_attention_heads: int = checked(whole(), 8)
    attention_downsample_rate: int = checked(whole(), 2)
    num_multimask_outputs: int = checked(whole(at_most=MOST_LAYERS), 3)
    iou_head_depth: int = checked(whole(at_most=MOST_LAYERS), 3)
    iou_head_hidden_dim: int = checked(whole(), 256)
    dynamic_multimask_via_stability: bool = checked(flag, True)
    dynamic_multimask_stability_delta: float = checked(number(at_least=0), 0.05)
    dynamic_multimask_stability_thresh: float = checked(number(), 0.98)

    def check(self) -> None:
        """Check the fields and that they fit. Raises a `ValueError` that names the fields."""
        super().check()
        require(
            self.num_multimask_outputs >= 1,
            f"num_multimask_outputs must be at least 1, got {self.num_multimask_outputs}",
        )
        require(self.hidden_size % 8 == 0, f"hidden_size must be a multiple of 8, got {self.hidden_size}")
        require(
            self.hidden_size % (self.attention_downsample_rate * self.num_attention_heads) == 0,
            f"hidden_size {self.hidden_size} must divide by attention_downsample_rate x num_attention_heads = "
            f"{self.attention_downsample_rate} x {self.num_attention_heads}",
        )


class Sam2VideoPromptEncoderConfig(Sam2PromptEncoderConfig):
    """The prompt encoder's configuration as a video checkpoint names it."""

    model_type = "sam2_video_prompt_encoder"


class Sam2VideoMaskDecoderConfig(Sam2MaskDecoderConfig):
    """The mask decoder's configuration as a video checkpoint names it."""

    model_type = "sam2_video_mask_decoder"
