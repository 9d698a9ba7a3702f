"""Weights to start a training from nothing with."""

from __future__ import annotations

import torch
from torch import nn

from ..modeling_sam2 import Sam2PromptableModel

_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


@torch.no_grad()
def initialise(model: Sam2PromptableModel) -> None:
    """Draws all weights anew, with PyTorch's own scales, from its generator.

    A new model has the small values that transformers gives to every layer, of one size for all. They suit what is
    wide and what is fine-tuned; in a narrow model signals drown, and the tokens of the decoder start as good as equal,
    so that its masks take long to become different ones.
    """
    for module in model.modules():
        if isinstance(module, _LAYERS):
            module.reset_parameters()
