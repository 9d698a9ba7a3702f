"""An untrained model, for use without a checkpoint."""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig

from sam2_hf.modeling_sam2 import Sam2Model, Sam2PromptableModel


def random_model(
    config: PreTrainedConfig, seed: int = 0, model_class: type[Sam2PromptableModel] = Sam2Model
) -> Sam2PromptableModel:
    """An untrained model whose masks follow the colours and edges of an image.

    Matrices are scaled by their fan-in, so that differences between positions of the image keep their size through the
    layers; with the small values that training starts from, rounding would hide them. The kernels that upsample masks
    get one value for all four pixels; otherwise every mask would show little but their pattern.

    Args:
        config: of `model_class`.
        seed: of the weights.
        model_class: image or video model.

    Returns:
        The model in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            is_token = "token" in name or "point_embed" in name
            is_upscaling = "upscale_conv" in name  # transposed: its first axis is that of the inputs
            if parameter.ndim < 2 or ("embed" in name and not is_token):
                continue
            fan_in = 1 if is_token else parameter.shape[0] if is_upscaling else parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
            if is_upscaling:
                parameter.copy_(parameter[..., :1, :1].expand_as(parameter))
    return model.eval()


def soften_attention(model: Sam2PromptableModel) -> None:
    """Scales queries and keys down, so that attention weighs positions instead of choosing one.

    Without this, a relative difference of 1e-6 in the image embeddings comes out as 4e-2 in the masks, with it as 2e-6.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                parameter.mul_(0.25)
            elif "token" in name or "point_embed" in name:
                parameter.mul_(0.3)
