"""An image model whose low-resolution masks come without small holes and specks, for mask generation.

Meta's generator cleans masks before it brings them to the size of the image, so their stability and their boxes are
those of clean masks. Masks that are given back to the model are not cleaned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..modeling_sam2 import Sam2Model
from ..network.mask_decoder import DecodedPrompts, MaskDecoder
from .engine import share_parts

Clean = Callable[[Tensor], Tensor]


class CleaningDecoder(MaskDecoder):
    """A mask decoder whose single masks are cleaned where `is_final` says so."""

    clean: Clean
    is_final = True

    def single_mask(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """As in the base class, cleaned."""
        masks, scores = super().single_mask(*args, **kwargs)
        return (self.clean(masks) if self.is_final else masks), scores


class CleaningModel(Sam2Model):
    """An image model whose masks are cleaned, unless they are to be given back to it."""

    clean: Clean
    gives_back = False
    mask_decoder: CleaningDecoder

    def decode_prompts(self, *args: Any, **kwargs: Any) -> DecodedPrompts:
        """As in the base class; takes note of whether the masks to come are final."""
        self.mask_decoder.is_final = not self.gives_back or kwargs.get("input_masks") is not None
        return super().decode_prompts(*args, **kwargs)

    def upscale_masks(self, *args: Any, **kwargs: Any) -> Tensor:
        """As in the base class, cleaned."""
        masks = super().upscale_masks(*args, **kwargs)
        return self.clean(masks) if self.mask_decoder.is_final else masks


def cleaning_model(model: Sam2Model, clean: Clean, gives_back: bool) -> CleaningModel:
    """The same model, sharing its weights, with masks that are cleaned.

    Args:
        model: the model.
        clean: takes logits (..., h, w).
        gives_back: whether masks are given back to the model once; those that come out then are the final ones.
    """
    with torch.device("meta"):
        twin, decoder = CleaningModel(model.config), CleaningDecoder(model.config.mask_decoder_config)
    share_parts(model, twin)
    twin.mask_decoder = share_parts(model.mask_decoder, decoder)
    twin.gives_back = gives_back
    twin.clean = decoder.clean = clean
    return twin
