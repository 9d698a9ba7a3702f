"""Initial weights for training without a checkpoint."""

from __future__ import annotations

import torch
from torch import nn

from ...modeling_sam2 import Sam2PromptableModel
from ...network.two_way_transformer import ImageAttention

_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


@torch.no_grad()
def initialise(model: Sam2PromptableModel) -> None:
    """Draw all weights from PyTorch's generator, with the scales of PyTorch's layers.

    transformers gives small values of one scale to every layer of a new model. They suit wide models and fine-tuning.
    In a narrow model, signals vanish, and the tokens of the decoder start nearly equal, so that its masks stay the same
    for long.

    Attention between tokens and image starts with equal projections of queries and keys. A click and its position in
    the image have the same position encoding and so attend to each other from the first step on. With independent
    projections this is learnt first, in hundreds of steps with empty masks.

    Args:
        model: changed in place.
    """
    for module in model.modules():
        if isinstance(module, _LAYERS):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, ImageAttention):
            _share_projection(module)


def _share_projection(attention: ImageAttention) -> None:
    nn.init.xavier_uniform_(attention.q_proj.weight)
    attention.k_proj.weight.copy_(attention.q_proj.weight)
    for projection in (attention.q_proj, attention.k_proj):
        nn.init.zeros_(projection.bias)
