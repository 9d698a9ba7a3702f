"""The table of fast forms, and the switch that turns them off.

Some computations are written twice: as the equations say, in `network`, and in a faster order that gives the same up
to rounding. Here is which function of the network has which other form, and when that form is used. A test for each
shows that they agree. Where results must be compared, or a doubt be settled, `plain_paths` turns all of them off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import attention, fpn_neck, hiera, losses, mask_decoder, memory_attention
from .conditions import FORMS_ARE_WANTED, enabled

__all__ = ["FORMS", "FORMS_ARE_WANTED", "Form", "enabled", "plain_paths"]


class Form(NamedTuple):
    """`run` takes the place of a function for those of its arguments that `suits` says True of."""

    suits: Callable[..., bool]
    run: Callable[..., Any]


FORMS: dict[str, Form] = {
    "attend": Form(attention.suits_training, attention.attend_in_half),
    "Hiera.embed": Form(hiera.suits_embedding, hiera.embed),
    "MultiScaleBlock.forward": Form(hiera.suits_block, hiera.run_block),
    "FpnNeck.forward": Form(fpn_neck.suits, fpn_neck.build_pyramid),
    "TwoWayTransformer.forward": Form(mask_decoder.suits_transformer, mask_decoder.run_transformer),
    "MaskDecoder.upscale": Form(mask_decoder.suits_upscaling, mask_decoder.upscale),
    "MemoryAttentionLayer.forward": Form(memory_attention.suits_layer, memory_attention.run_layer),
    "LossWeights.judge": Form(losses.suits_judging, losses.judge_in_chunks),
}
"""By the qualified name of the function in `network` that is marked `replaceable`."""


@contextmanager
def plain_paths() -> Iterator[None]:
    """Within this context, in this thread alone, everything is computed in its plain form."""
    token = FORMS_ARE_WANTED.set(False)
    try:
        yield
    finally:
        FORMS_ARE_WANTED.reset(token)
