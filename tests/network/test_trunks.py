"""A trunk of another kind, added from outside of the package through registration alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from prompt_tensors import pixels, points_for
from tiny import randomize, tiny_config
from torch import nn
from transformers import PreTrainedConfig

from sam2_hf.configuration_sam2 import Sam2Config, Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.network.hiera import Hiera
from sam2_hf.network.trunks import TrunkFeatures, build_trunk, register_trunk


class ToyTrunkConfig(PreTrainedConfig):
    """Four stages of strided convolutions."""

    model_type = "toy_trunk"

    image_size: Any = None
    num_channels: int = 3
    width: int = 8

    def __post_init__(self, **kwargs: Any) -> None:
        self.image_size = [128, 128] if self.image_size is None else list(self.image_size)
        super().__post_init__(**kwargs)

    @property
    def channels(self) -> list[int]:
        return [self.width * 2**stage for stage in range(4)]

    def feature_sizes(self) -> list[list[int]]:
        return [[side // 4 // 2**stage for side in self.image_size] for stage in range(4)]


class ToyTrunk(nn.Module):
    """Each stage halves the map of the one before."""

    def __init__(self, config: ToyTrunkConfig):
        super().__init__()
        widths = config.channels
        self.stem = nn.Conv2d(config.num_channels, widths[0], kernel_size=4, stride=4)
        self.steps = nn.ModuleList(
            nn.Conv2d(narrow, wide, kernel_size=2, stride=2) for narrow, wide in itertools.pairwise(widths)
        )
        self.bias = nn.Parameter(torch.full((widths[0],), 7.0))

    def initialise(self) -> None:
        nn.init.zeros_(self.bias)

    def forward(
        self, pixel_values: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> TrunkFeatures:
        hidden = self.stem(pixel_values) + self.bias[:, None, None]
        stages = [hidden]
        for step in self.steps:
            stages.append(step(stages[-1].relu()))
        return TrunkFeatures(tuple(stage.permute(0, 2, 3, 1) for stage in stages))


register_trunk(ToyTrunkConfig, ToyTrunk)


def toy_config(video: bool = False) -> Sam2Config | Sam2VideoConfig:
    values = tiny_config(video).to_dict()
    values["vision_config"] = {"backbone_config": ToyTrunkConfig(), "fpn_hidden_size": 32}
    values.pop("model_type")
    return (Sam2VideoConfig if video else Sam2Config)(**values)


@torch.no_grad()
def test_a_model_segments_with_it():
    model = randomize(Sam2Model(toy_config())).eval()
    assert type(model.vision_encoder.backbone) is ToyTrunk
    output = model(pixels(2), **points_for(2, 3, 1))
    assert output.pred_masks.shape == (2, 3, 3, 32, 32)
    assert (output.pred_masks > 0).any() and (output.pred_masks < 0).any()
    assert not torch.equal(output.pred_masks, model(pixels(2, seed=1), **points_for(2, 3, 1)).pred_masks)


def test_a_video_model_is_built_with_it():
    from sam2_hf.modeling_sam2_video import Sam2VideoModel

    assert type(Sam2VideoModel(toy_config(video=True)).vision_encoder.backbone) is ToyTrunk


def test_its_own_parameters_are_initialised():
    assert (Sam2Model(toy_config()).vision_encoder.backbone.bias == 0).all()


@torch.no_grad()
def test_it_is_saved_and_loaded(tmp_path):
    model = randomize(Sam2Model(toy_config())).eval()
    model.save_pretrained(tmp_path)
    loaded = Sam2Model.from_pretrained(tmp_path).eval()
    assert isinstance(loaded.config.vision_config.backbone_config, ToyTrunkConfig)
    inputs = {"pixel_values": pixels(), **points_for(1, 1, 1)}
    assert torch.equal(loaded(**inputs).pred_masks, model(**inputs).pred_masks)


def test_the_image_size_can_be_changed():
    config = toy_config().with_image_size((64, 96))
    assert config.vision_config.backbone_config.image_size == [64, 96]
    assert config.vision_config.backbone_feature_sizes == [[16, 24], [8, 12], [4, 6]]


def test_hiera_is_what_is_built_by_default():
    assert isinstance(Sam2VisionConfig().backbone_config, Sam2HieraDetConfig)
    assert isinstance(build_trunk(tiny_config().vision_config.backbone_config), Hiera)


def test_a_configuration_without_a_trunk_is_refused():
    with pytest.raises(ValueError, match="must be of a class with a registered trunk"):
        build_trunk(PreTrainedConfig())


def test_a_name_that_is_taken_is_refused():
    class Impostor(PreTrainedConfig):
        model_type = "toy_trunk"

    with pytest.raises(ValueError, match="the model_type 'toy_trunk' belongs to ToyTrunkConfig already"):
        register_trunk(Impostor, ToyTrunk)
