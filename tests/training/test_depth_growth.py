from __future__ import annotations

import pytest
import torch
from tiny import tiny_config

from sam2_hf.training.models.clip_model import Sam2VideoForTraining
from sam2_hf.training.models.depth_growth import deepen, deepened_config

SIZE = 64


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Sam2VideoForTraining(tiny_config(video=True, image_size=SIZE)).eval()


def deeper(model, extra):
    before = model.config.vision_config.backbone_config.blocks_per_stage
    return deepen(model, [old + new for old, new in zip(before, extra, strict=True)])


@pytest.mark.parametrize("extra", [(1, 0, 0, 0), (0, 0, 0, 1), (2, 1, 1, 2)])
def test_deeper_model_computes_what_it_did_before(model, extra):
    pixel_values = torch.randn(1, 3, SIZE, SIZE)
    deep = deeper(model, extra).eval()
    blocks = [len(m.vision_encoder.backbone.blocks) for m in (model, deep)]
    with torch.inference_mode():
        before, after = model.encode_frame(pixel_values), deep.encode_frame(pixel_values)
    assert blocks[1] == blocks[0] + sum(extra)
    for old, new in zip((*before.fine, before.coarsest), (*after.fine, after.coarsest), strict=True):
        torch.testing.assert_close(old, new)


def test_new_blocks_learn(model):
    deep = deeper(model, (1, 0, 0, 0))
    new = deep.vision_encoder.backbone.blocks[model.config.vision_config.backbone_config.blocks_per_stage[0]]
    optimizer = torch.optim.SGD(deep.parameters(), lr=0.01)
    for _ in range(2):  # the first step moves the last layers alone: behind zeros nothing is felt
        before = {name: value.clone() for name, value in new.named_parameters()}
        optimizer.zero_grad()
        deep.encode_frame(torch.randn(1, 3, SIZE, SIZE)).coarsest.square().sum().backward()
        optimizer.step()
    still = {name for name, value in new.named_parameters() if torch.equal(value, before[name])}
    assert not still


def test_blocks_with_global_attention_stay_the_same_ones(model):
    trunk = model.config.vision_config.backbone_config
    trunk.blocks_per_stage, trunk.global_attention_blocks = [1, 2, 3, 1], [4, 5]
    assert deepened_config(model.config, [2, 3, 4, 1]).vision_config.backbone_config.global_attention_blocks == [6, 7]
    assert trunk.global_attention_blocks == [4, 5]


@pytest.mark.parametrize("blocks", [[1, 1, 1], [0, 1, 1, 1]])
def test_a_stage_that_would_lose_blocks_is_refused(model, blocks):
    with pytest.raises(ValueError, match=r"blocks_per_stage must be .* got"):
        deepened_config(model.config, blocks)
