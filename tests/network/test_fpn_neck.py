"""The feature pyramid."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import randomize_parameters, tiny_config
from transformers.models.sam2.modeling_sam2 import Sam2VisionNeck

from sam2_hf.fast.dispatch import plain_paths
from sam2_hf.network.fpn_neck import FpnNeck

IMAGE_SIZE = (64, 96)


def vision_config(**overrides):
    config = tiny_config(image_size=IMAGE_SIZE).vision_config
    for name, value in overrides.items():
        setattr(config, name, value)
    config.check()
    return config


def neck_of(config):
    return randomize_parameters(FpnNeck(config), torch.Generator().manual_seed(0)).eval()


def stages_for(config, seed=1):
    """Random maps in place of the trunk's stages, (B, H, W, C)."""
    generator = torch.Generator().manual_seed(seed)
    backbone = config.backbone_config
    shapes = zip(backbone.feature_sizes(), backbone.embed_dim_per_stage, strict=True)
    return [torch.randn(2, *size, width, generator=generator) for size, width in shapes]


@pytest.mark.parametrize(
    "overrides",
    [{}, {"fpn_top_down_levels": [0, 1, 2]}, {"fpn_top_down_levels": []}, {"fpn_kernel_size": 3, "fpn_padding": 1}],
    ids=["as published", "all levels top down", "no level top down", "wider convolutions"],
)
@torch.no_grad()
def test_equals_transformers(overrides):
    config = vision_config(**overrides)
    ours = neck_of(config)
    theirs = Sam2VisionNeck(config).eval()
    theirs.load_state_dict(ours.state_dict())
    stages = stages_for(config)
    expected = theirs(stages)[0][::-1][:3]
    for level, reference in zip(ours(stages), expected, strict=True):
        assert_close_in_scale(level, reference)


@torch.no_grad()
def test_gives_three_levels_from_high_to_low_resolution():
    config = vision_config()
    levels = neck_of(config)(stages_for(config))
    assert [tuple(level.shape) for level in levels] == [(2, 32, 16, 24), (2, 32, 8, 12), (2, 32, 4, 6)]


@torch.no_grad()
def test_only_top_down_levels_hear_of_the_level_above():
    config = vision_config(fpn_top_down_levels=[2, 3])
    neck, stages = neck_of(config), stages_for(config)
    changed = [*stages[:3], stages[3] + 1]
    same = [torch.equal(a, b) for a, b in zip(neck(stages), neck(changed), strict=True)]
    assert same == [True, True, False]


@pytest.mark.parametrize("top_down", [[2, 3], [1, 2, 3], [0, 1, 2], []])
@torch.no_grad()
def test_projected_levels_are_those_that_are_projected_afterwards(top_down):
    config = vision_config(fpn_top_down_levels=top_down)
    neck, stages = neck_of(config), stages_for(config)
    generator = torch.Generator().manual_seed(2)
    projections = [randomize_parameters(torch.nn.Conv2d(32, width, 1), generator) for width in (4, 8)]
    with plain_paths():
        finest, middle, coarsest = neck(stages)
        expected = (projections[0](finest), projections[1](middle), coarsest)
        plain = neck(stages, projections)
    for level, other, reference in zip(neck(stages, projections), plain, expected, strict=True):
        assert torch.equal(other, reference)
        assert_close_in_scale(level, reference)


def test_projected_levels_learn_the_same_merged_or_not():
    config = vision_config()
    neck, stages = neck_of(config), stages_for(config)
    generator = torch.Generator().manual_seed(2)
    projections = torch.nn.ModuleList(randomize_parameters(torch.nn.Conv2d(32, w, 1), generator) for w in (4, 8))
    learning = [*neck.convs[1:].parameters(), *projections.parameters()]

    def gradients():
        return torch.autograd.grad(sum(level.square().mean() for level in neck(stages, projections)), learning)

    merged = gradients()
    with plain_paths():
        plain = gradients()
    for one, other in zip(merged, plain, strict=True):
        assert_close_in_scale(one, other)
    assert any(not torch.equal(one, other) for one, other in zip(merged, plain, strict=True))  # two forms, then
