"""Configurations: presets, sizes, saving and loading."""

from __future__ import annotations

import json
import logging

import pytest
import torch
import transformers
from tiny import tiny_config

from sam2_hf.configuration_sam2 import (
    PRESETS,
    Sam2Config,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VideoConfig,
    Sam2VisionConfig,
)
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.sizes import read_size

# Parameters in millions: the video model's, published with one digit behind the point, and of these the image model's.
PARAMETERS = {
    "sam2-hiera-tiny": (38.95, 31.44),
    "sam2-hiera-small": (46.04, 38.54),
    "sam2-hiera-base-plus": (80.83, 73.33),
    "sam2-hiera-large": (224.43, 216.92),
    "sam2.1-hiera-tiny": (38.96, 31.44),
    "sam2.1-hiera-small": (46.06, 38.54),
    "sam2.1-hiera-base-plus": (80.85, 73.33),
    "sam2.1-hiera-large": (224.45, 216.92),
}


def values_of(config):
    """Everything that a configuration says, without the mark of the transformers version that wrote it."""
    values = config.to_dict()
    values.pop("transformers_version", None)
    return values


def reload(config, folder):
    config.save_pretrained(folder)
    return type(config).from_pretrained(folder)


class TestPresets:
    @pytest.mark.parametrize("name", PARAMETERS)
    def test_models_have_the_published_number_of_parameters(self, name):
        with torch.device("meta"):
            video = Sam2VideoModel(Sam2VideoConfig.from_preset(name))
            image = Sam2Model(Sam2Config.from_preset(name))
        counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (video, image)]
        assert [round(count / 1e6, 2) for count in counts] == list(PARAMETERS[name])

    def test_are_the_eight_published_checkpoints(self):
        assert sorted(PRESETS) == sorted(PARAMETERS)

    def test_default_is_sam2_1_tiny(self):
        assert values_of(Sam2VideoConfig()) == values_of(Sam2VideoConfig.from_preset("sam2.1-hiera-tiny"))

    def test_version_2_lacks_what_2_1_added_to_the_memory(self):
        config = Sam2VideoConfig.from_preset("sam2-hiera-small")
        assert not config.enable_occlusion_spatial_embedding
        assert not config.enable_temporal_pos_encoding_for_object_pointers

    def test_overrides_replace_the_presets_fields(self):
        config = Sam2VideoConfig.from_preset(
            "sam2-hiera-tiny",
            image_size=512,
            enable_occlusion_spatial_embedding=True,
            mask_decoder_config={"dynamic_multimask_via_stability": False},
        )
        assert config.enable_occlusion_spatial_embedding
        assert not config.mask_decoder_config.dynamic_multimask_via_stability
        assert config.image_size == 512

    def test_presets_do_not_share_state(self):
        Sam2Config.from_preset("sam2.1-hiera-tiny").vision_config.backbone_config.blocks_per_stage.append(1)
        assert Sam2Config.from_preset("sam2.1-hiera-tiny").vision_config.backbone_config.blocks_per_stage == [
            1,
            2,
            7,
            2,
        ]

    def test_subclasses_get_the_video_presets_too(self):
        class CustomConfig(Sam2VideoConfig):
            pass

        assert not CustomConfig.from_preset("sam2-hiera-tiny").enable_occlusion_spatial_embedding

    def test_unknown_name_is_refused_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"unknown preset 'sam3'.*sam2\.1-hiera-tiny"):
            Sam2Config.from_preset("sam3")


class TestSizes:
    @pytest.mark.parametrize("config_class", [Sam2Config, Sam2VideoConfig])
    @pytest.mark.parametrize("size", [512, (512, 768)])
    def test_image_size_reaches_every_part(self, config_class, size):
        config = config_class.from_preset("sam2.1-hiera-tiny", image_size=size)
        height, width = read_size(size, "size")
        assert config.vision_config.backbone_config.image_size == [height, width]
        assert config.vision_config.backbone_feature_sizes == [[height // s, width // s] for s in (4, 8, 16)]
        assert read_size(config.prompt_encoder_config.image_size, "size") == (height, width)
        assert config.prompt_encoder_config.image_embedding_size == (height // 16, width // 16)

    def test_video_gets_the_rotary_grid_as_width_and_height(self):
        config = Sam2VideoConfig.from_preset("sam2.1-hiera-tiny", image_size=(512, 768))
        assert config.image_size == [512, 768]
        assert config.memory_attention_rope_feat_sizes == [48, 32]

    def test_resizing_leaves_the_original_and_all_else_alone(self):
        config = tiny_config(video=True, num_maskmem=3)
        before = values_of(config)
        resized = config.with_image_size((64, 96))
        assert values_of(config) == before
        assert resized.num_maskmem == 3
        assert values_of(resized.with_image_size(128)) == before

    def test_resized_equals_built_in_that_size(self):
        assert values_of(tiny_config().with_image_size((64, 96))) == values_of(tiny_config(image_size=(64, 96)))

    def test_tuples_and_lists_say_the_same(self):
        config = Sam2PromptEncoderConfig(image_size=(512, 768), patch_size=(16, 16))
        assert config.image_size == [512, 768]
        assert config.patch_size == 16

    @pytest.mark.parametrize("size", [0, -64, 64.0, "64", (64,), (64, 64, 64), (64, 0), None])
    def test_what_is_no_size_is_refused(self, size):
        with pytest.raises(ValueError, match="image_size must be a positive int or a pair"):
            read_size(size, "image_size")


class TestSaving:
    @pytest.mark.parametrize("video", [False, True])
    @pytest.mark.parametrize("image_size", [128, (64, 96)])
    def test_loads_what_it_saved(self, video, image_size, tmp_path):
        config = tiny_config(video=video, image_size=image_size)
        assert values_of(reload(config, tmp_path)) == values_of(config)

    @pytest.mark.parametrize("name", PRESETS)
    def test_presets_load_what_they_saved(self, name, tmp_path):
        config = Sam2VideoConfig.from_preset(name)
        assert values_of(reload(config, tmp_path)) == values_of(config)

    @pytest.mark.parametrize("ours", [Sam2Config, Sam2VideoConfig])
    def test_loads_what_transformers_saved(self, ours, tmp_path):
        getattr(transformers, ours.__name__)().save_pretrained(tmp_path)
        config = ours.from_pretrained(tmp_path)
        assert values_of(config) == values_of(ours())

    @pytest.mark.parametrize("ours", [Sam2Config, Sam2VideoConfig])
    @pytest.mark.parametrize("preset", ["sam2-hiera-base-plus", "sam2.1-hiera-tiny"])
    def test_transformers_loads_what_it_saved(self, ours, preset, tmp_path):
        config = ours.from_preset(preset)
        config.save_pretrained(tmp_path)
        theirs = getattr(transformers, ours.__name__).from_pretrained(tmp_path)
        assert theirs.model_type == config.model_type
        assert_says_as_much(theirs.to_dict(), config.to_dict())

    def test_takes_configurations_of_transformers_as_parts(self):
        vision = transformers.Sam2VisionConfig(backbone_config=transformers.Sam2HieraDetConfig(mlp_ratio=2.0))
        config = Sam2Config(vision_config=vision)
        assert type(config.vision_config) is Sam2VisionConfig
        assert config.vision_config.backbone_config.mlp_ratio == 2.0

    def test_given_parts_are_used_as_they_are(self):
        decoder = Sam2MaskDecoderConfig(mlp_dim=512)
        assert Sam2Config(mask_decoder_config=decoder).mask_decoder_config is decoder

    def test_older_configs_name_the_rotary_base_differently(self, tmp_path):
        values = values_of(Sam2VideoConfig())
        values.pop("rope_parameters")
        values["memory_attention_rope_theta"] = 5000
        (tmp_path / "config.json").write_text(json.dumps(values))
        config = Sam2VideoConfig.from_pretrained(tmp_path)
        assert config.rope_parameters == {"rope_theta": 5000.0, "rope_type": "axial"}
        assert "memory_attention_rope_theta" not in config.to_dict()
        assert config.memory_attention_rope_theta == 5000.0
        config.memory_attention_rope_theta = 700
        assert config.rope_parameters == {"rope_theta": 700.0, "rope_type": "axial"}

    @pytest.mark.parametrize("source", ["ours", "transformers"])
    def test_image_config_of_a_video_checkpoint_comes_without_a_warning(self, source, tmp_path, caplog):
        config_class = Sam2VideoConfig if source == "ours" else transformers.Sam2VideoConfig
        config_class(num_maskmem=5).save_pretrained(tmp_path)
        transformers.utils.logging.enable_propagation()
        try:
            with caplog.at_level(logging.INFO):
                config = Sam2Config.from_pretrained(tmp_path)
        finally:
            transformers.utils.logging.disable_propagation()
        assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
        assert values_of(config) == values_of(Sam2Config())

    def test_image_config_keeps_what_both_kinds_share(self, tmp_path):
        tiny_config(video=True, image_size=(64, 96), initializer_range=0.05).save_pretrained(tmp_path)
        config = Sam2Config.from_pretrained(tmp_path)
        assert values_of(config) == values_of(tiny_config(image_size=(64, 96), initializer_range=0.05))


def assert_says_as_much(theirs: dict, ours: dict) -> None:
    """Every field that transformers knows has the value we gave it."""
    unlike = {"transformers_version", "architectures", "_name_or_path", "model_type"}  # older versions name no parts
    for name, value in theirs.items():
        if isinstance(value, dict) and isinstance(ours.get(name), dict):
            assert_says_as_much(value, ours[name])
        elif name not in unlike and name in ours:
            assert ours[name] == value, name


@pytest.mark.parametrize("dtype", ["", "nonsense", "torch.float16", "nn", 7, [], {"a": 1}])
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_refuses_what_is_no_dtype(name, dtype):
    with pytest.raises(ValueError, match=f"{name} must be a torch dtype or its name"):
        Sam2VideoConfig.from_dict({name: dtype})


@pytest.mark.parametrize("dtype", [None, "bfloat16", torch.float16])
def test_takes_dtypes_and_their_names(dtype):
    expected = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    assert Sam2Config.from_dict({"dtype": dtype}).dtype == expected
