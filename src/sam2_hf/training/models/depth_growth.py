"""A model that becomes deeper in the middle of its training, and computes at first what it did before.

Source: Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer" (arXiv 1511.05641).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import nn

from ...configuration_sam2 import Sam2VideoConfig
from ...network.hiera import MultiScaleBlock
from .clip_model import Sam2VideoForTraining


def deepened_config(config: Sam2VideoConfig, blocks_per_stage: Sequence[int]) -> Sam2VideoConfig:
    """The configuration with more blocks in the stages of the image trunk.

    Blocks with global attention stay the same ones. Raises a `ValueError` if a stage would lose blocks.
    """
    trunk = config.vision_config.backbone_config
    before, after = list(trunk.blocks_per_stage), list(blocks_per_stage)
    if len(after) != len(before) or any(new < old for new, old in zip(after, before, strict=True)):
        raise ValueError(f"blocks_per_stage must be {before} or more in each stage, got {after}")
    moved = _places(before, after)
    config = copy.deepcopy(config)
    trunk = config.vision_config.backbone_config
    trunk.blocks_per_stage = after
    trunk.global_attention_blocks = [moved[block] for block in trunk.global_attention_blocks]
    return config


@torch.no_grad()
def deepen(model: Sam2VideoForTraining, blocks_per_stage: Sequence[int]) -> Sam2VideoForTraining:
    """The model with more blocks in the stages of the image trunk, as `deepened_config` says.

    New blocks stand at the ends of the stages. Their last layers are zero, so that they pass on what they are given,
    and the others are drawn from PyTorch's generator.
    """
    config = deepened_config(model.config, blocks_per_stage)
    deeper = Sam2VideoForTraining(config, model.interaction, model.evaluation, model.loss_weights)
    places = _places(model.config.vision_config.backbone_config.blocks_per_stage, blocks_per_stage)
    old, blocks = _blocks(model), _blocks(deeper)
    for place in set(range(len(blocks))) - set(places):
        _pass_on(blocks[place])
    rest = {name: value for name, value in model.state_dict().items() if ".backbone.blocks." not in name}
    deeper.load_state_dict({**deeper.state_dict(), **rest})
    for block, place in zip(old, places, strict=True):
        blocks[place].load_state_dict(block.state_dict())
    return deeper


def _blocks(model: Sam2VideoForTraining) -> list[MultiScaleBlock]:
    return list(model.vision_encoder.backbone.blocks)  # type: ignore[arg-type]  # PyTorch knows modules alone


def _places(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Where the blocks of stages with `before` blocks stand among those of stages with `after`."""
    starts = accumulate(after, initial=0)
    return [start + block for start, count in zip(starts, before, strict=False) for block in range(count)]


def _pass_on(block: MultiScaleBlock) -> None:
    """Draws a block's weights, those of the last layers of both its branches apart."""
    for module in block.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    for last in (block.attn.proj, block.mlp.proj_out):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
