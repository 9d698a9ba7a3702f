"""Small random models for the tests: real code paths, milliseconds a call, masks that are neither full nor empty."""

from __future__ import annotations

import torch
from torch import nn

from sam2_hf.configuration_sam2 import Sam2Config, Sam2VideoConfig
from sam2_hf.modeling_sam2 import Sam2Model

_TRUNK = {
    "hidden_size": 8,
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 2, 4, 8],
    "blocks_per_stage": [1, 1, 2, 1],
    "window_size_per_stage": [8, 4, 4, 2],
    "global_attention_blocks": [3],
    "window_positional_embedding_background_size": [5, 5],
}
_VIDEO = {
    "memory_attention_num_layers": 2,
    "memory_attention_feed_forward_hidden_size": 64,
    "memory_fuser_intermediate_dim": 64,
    "memory_fuser_layer_scale_init_value": 0.5,
}
_HIDDEN_WIDTHS = (
    "memory_attention_hidden_size",
    "memory_encoder_hidden_size",
    "mask_downsampler_embed_dim",
    "memory_fuser_embed_dim",
)


def tiny_config(video: bool = False, image_size=128, width: int = 32, memory_width: int = 16, **overrides):
    """A configuration for `image_size` pixels, int or (height, width), a multiple of 32.

    `width` is that of the image features, `memory_width` that of the memories; transformers needs 64 for the latter.
    """
    size = list(image_size) if isinstance(image_size, (list, tuple)) else [image_size, image_size]
    parts = {
        "vision_config": {"backbone_config": {**_TRUNK, "image_size": size}, "fpn_hidden_size": width},
        "prompt_encoder_config": {
            "hidden_size": width,
            "image_size": size[0] if size[0] == size[1] else size,
        },
        "mask_decoder_config": {
            "hidden_size": width,
            "num_attention_heads": 2,
            "mlp_dim": 64,
            "iou_head_hidden_dim": 32,
        },
    }
    if video:
        widths = {**dict.fromkeys(_HIDDEN_WIDTHS, width), "memory_encoder_output_channels": memory_width}
        return Sam2VideoConfig(**{**parts, **_VIDEO, **widths, **overrides})
    return Sam2Config(**{**parts, **overrides})


@torch.no_grad()
def randomize_parameters(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Fills every parameter with random values of a sensible scale, in the order of their names."""
    for name, parameter in sorted(module.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.copy_(1 + 0.1 * noise)
        elif parameter.ndim < 2 or name.endswith("bias"):
            parameter.copy_(0.1 * noise)
        elif "embed" in name or "token" in name:
            parameter.copy_(0.5 * noise)
        else:
            fan_in = parameter[0].numel()
            parameter.copy_(noise * (1.5 / fan_in) ** 0.5)
    return module


@torch.no_grad()
def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Randomizes a whole model: its parameters and the Gaussian matrix that encodes positions."""
    generator = torch.Generator().manual_seed(seed)
    randomize_parameters(model, generator)
    gaussian = torch.randn(model.shared_image_embedding.positional_embedding.shape, generator=generator)
    model.shared_image_embedding.positional_embedding.copy_(gaussian)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(gaussian)
    return model


def tiny_image_model(seed: int = 0, **config) -> Sam2Model:
    """A random image model in evaluation mode."""
    return randomize(Sam2Model(tiny_config(**config)), seed).eval()


def tiny_video_model(seed: int = 0, **config):
    """A random video model in evaluation mode, whose objects are present unless a test says otherwise."""
    from sam2_hf.modeling_sam2_video import Sam2VideoModel

    model = randomize(Sam2VideoModel(tiny_config(video=True, **config)), seed)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(5.0)
    return model.eval()
