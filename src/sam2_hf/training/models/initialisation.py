"""Weights to start a training from nothing with."""

from __future__ import annotations

import torch
from torch import nn

from ...modeling_sam2 import Sam2PromptableModel
from ...network.two_way_transformer import ImageAttention

_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


@torch.no_grad()
def initialise(model: Sam2PromptableModel) -> None:
    """Draws all weights anew, with PyTorch's own scales, from its generator.

    A new model has the small values that transformers gives to every layer, of one size for all. They suit what is
    wide and what is fine-tuned; in a narrow model signals drown, and the tokens of the decoder start as good as equal,
    so that its masks take long to become different ones.

    Attention between tokens and image starts with the same projection for queries and keys. A click and the place it
    points at have the same position encoding, so that way they find each other from the first step on; with two
    projections drawn apart, that is the first thing to be learnt, through hundreds of steps of empty masks.
    """
    for module in model.modules():
        if isinstance(module, _LAYERS):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, ImageAttention):
            _let_equals_meet(module)


def _let_equals_meet(attention: ImageAttention) -> None:
    nn.init.xavier_uniform_(attention.q_proj.weight)
    attention.k_proj.weight.copy_(attention.q_proj.weight)
    for projection in (attention.q_proj, attention.k_proj):
        nn.init.zeros_(projection.bias)
