"""Depth growth: a deeper image trunk that at first computes the same features.

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
    """Add blocks to the stages of the image trunk in a configuration. The same blocks keep global attention.

    Args:
        config: of the model; unchanged.
        blocks_per_stage: of the deeper trunk.

    Returns:
        The configuration of the deeper model.

    Raises:
        ValueError: if a stage would lose blocks.
    """
    trunk = config.vision_config.backbone_config
    before, after = list(trunk.blocks_per_stage), list(blocks_per_stage)
    if len(after) != len(before) or any(new < old for new, old in zip(after, before, strict=True)):
        raise ValueError(f"blocks_per_stage must be {before} or more in each stage, got {after}")
    moved = _positions(before, after)
    config = copy.deepcopy(config)
    trunk = config.vision_config.backbone_config
    trunk.blocks_per_stage = after
    trunk.global_attention_blocks = [moved[block] for block in trunk.global_attention_blocks]
    return config


@torch.no_grad()
def deepen(model: Sam2VideoForTraining, blocks_per_stage: Sequence[int]) -> Sam2VideoForTraining:
    """Build a model with more blocks in the stages of the image trunk.

    New blocks are at the ends of the stages. The last layers of their branches are zero, so that they start as the
    identity; the other layers are drawn from PyTorch's generator.

    Args:
        model: unchanged.
        blocks_per_stage: of the deeper trunk.

    Returns:
        The deeper model, with the same outputs.

    Raises:
        ValueError: if a stage would lose blocks.
    """
    config = deepened_config(model.config, blocks_per_stage)
    deeper = Sam2VideoForTraining(config, model.interaction, model.evaluation, model.loss_weights)
    positions = _positions(model.config.vision_config.backbone_config.blocks_per_stage, blocks_per_stage)
    old, blocks = _blocks(model), _blocks(deeper)
    for position in set(range(len(blocks))) - set(positions):
        _reset_to_identity(blocks[position])
    rest = {name: value for name, value in model.state_dict().items() if ".backbone.blocks." not in name}
    deeper.load_state_dict({**deeper.state_dict(), **rest})
    for block, position in zip(old, positions, strict=True):
        blocks[position].load_state_dict(block.state_dict())
    return deeper


def _blocks(model: Sam2VideoForTraining) -> list[MultiScaleBlock]:
    return list(model.vision_encoder.backbone.blocks)  # type: ignore[arg-type]  # PyTorch knows modules alone


def _positions(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Map each block of stages with `before` blocks to its index in stages with `after` blocks."""
    starts = accumulate(after, initial=0)
    return [start + block for start, count in zip(starts, before, strict=False) for block in range(count)]


def _reset_to_identity(block: MultiScaleBlock) -> None:
    """Draw the weights of a block, with zeros in the last layers of both branches."""
    for module in block.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    for last in (block.attn.proj, block.mlp.proj_out):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
