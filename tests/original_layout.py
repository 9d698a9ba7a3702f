"""Checkpoints in the original layout for the tests of conversion."""

from __future__ import annotations

from functools import cache

import torch
from official_goldens import draw_state_dict, official_shapes
from torch import Tensor

from sam2_hf.hub.key_mapping import POINT_TABLE, original_name


def on_meta(model: str) -> dict[str, Tensor]:
    """An official checkpoint without values."""
    return {name: torch.empty(shape, device="meta") for name, shape in official_shapes(model).items()}


@cache
def small_checkpoint() -> dict[str, Tensor]:
    """A checkpoint in the original layout, as small as the official classes allow."""
    return draw_state_dict(official_shapes("small-sam2.1"), seed=0)


def to_original(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a model in the original layout."""
    original = {original_name(name): tensor for name, tensor in state.items() if name != POINT_TABLE}
    for index, row in enumerate(state[POINT_TABLE]):
        original[f"sam_prompt_encoder.point_embeddings.{index}.weight"] = row[None]
    return original
