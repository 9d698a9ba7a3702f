"""The table of fast forms, and the switch that turns them off.

Some computations are written twice: as the equations say, in `network`, and in a faster order that gives the same up
to rounding. Here is which function of the network has which other form, and when that form is used. A test for each
shows that they agree. Where results must be compared, or a doubt be settled, `plain_paths` turns all of them off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .attention import attend_in_half, suits_training
from .conditions import FORMS_ARE_WANTED, enabled
from .fpn_neck import build_pyramid, suits_pyramid
from .hiera import embed, run_block, suits_block, suits_embedding
from .losses import judge_in_chunks, suits_judging
from .mask_decoder import run_transformer, suits_transformer, suits_upscaling, upscale
from .memory_attention import run_layer, suits_layer

__all__ = ["FORMS", "FORMS_ARE_WANTED", "Form", "enabled", "plain_paths"]


class Form(NamedTuple):
    """`run` takes the place of a function for those of its arguments that `suits` says True of."""

    suits: Callable[..., bool]
    run: Callable[..., Any]


FORMS: dict[str, Form] = {
    "attend": Form(suits_training, attend_in_half),
    "Hiera.embed": Form(suits_embedding, embed),
    "MultiScaleBlock.forward": Form(suits_block, run_block),
    "FpnNeck.forward": Form(suits_pyramid, build_pyramid),
    "TwoWayTransformer.forward": Form(suits_transformer, run_transformer),
    "MaskDecoder.upscale": Form(suits_upscaling, upscale),
    "MemoryAttentionLayer.forward": Form(suits_layer, run_layer),
    "LossWeights.judge": Form(suits_judging, judge_in_chunks),
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
