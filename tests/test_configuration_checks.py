"""Fields of configurations: what is taken, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from test_configuration_sam2 import reload
from tiny import tiny_config

from sam2_hf.configuration_sam2 import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VisionConfig,
)
from sam2_hf.modeling_sam2 import Sam2Model
from sam2_hf.modeling_sam2_video import Sam2VideoModel
from sam2_hf.sizes import read_size

TRUNK_ERRORS = {
    "stages of different number": (
        {"embed_dim_per_stage": [96, 192, 384]},
        r"embed_dim_per_stage needs one value for each of the 4 stages.*\[96, 192, 384\]",
    ),
    "heads that do not divide the width": (
        {"num_attention_heads_per_stage": [1, 5, 4, 8]},
        r"must divide by num_attention_heads_per_stage \[1, 5, 4, 8\]",
    ),
    "a patch embedding of another width": (
        {"hidden_size": 128},
        r"hidden_size 128 must equal embed_dim_per_stage\[0\]",
    ),
    "a global block beyond the last": ({"global_attention_blocks": [5, 12]}, r"must lie in 0\.\.11"),
    "an image that stages cannot halve": ({"image_size": 1000}, "image_size .* must be a multiple of 32"),
    "an image that windows do not tile": (
        {"image_size": 1024, "window_size_per_stage": [12, 4, 14, 7]},
        r"window_size_per_stage\[0\] = 12 does not tile; use multiples of 48",
    ),
    "a window that cannot be pooled": (
        {"window_size_per_stage": [8, 7, 14, 7]},
        r"window_size_per_stage\[1\] = 7 must be a multiple of query_stride \[2, 2\]",
    ),
    "patches that leave gaps at the rim": ({"patch_padding": 1}, "patch_kernel_size .* less twice patch_padding"),
    "no size": ({"image_size": [1024]}, "image_size must be a positive int or a pair"),
}

VISION_ERRORS = {
    "channels in the wrong order": (
        {"backbone_channel_list": [96, 192, 384, 768]},
        r"backbone_channel_list .* reversed: \[768, 384, 192, 96\]",
    ),
    "another number of levels": ({"num_feature_levels": 4}, "num_feature_levels must be 3 .*got 4"),
    "feature maps of another image": (
        {"backbone_feature_sizes": [[128, 128], [64, 64], [32, 32]]},
        "backbone_feature_sizes .* do not follow from image_size",
    ),
    "stages that keep their size": (
        {"backbone_config": {"num_query_pool_stages": 2}},
        "num_query_pool_stages 2 must halve the map",
    ),
    "stages that shrink fourfold": (
        {"backbone_config": {"query_stride": 4, "window_size_per_stage": [8, 4, 16, 8]}},
        r"query_stride 4 .* must halve the map",
    ),
    "too few stages": (
        {
            "backbone_config": {
                "blocks_per_stage": [1, 2],
                "embed_dim_per_stage": [96, 192],
                "num_attention_heads_per_stage": [1, 2],
                "window_size_per_stage": [8, 4],
                "global_attention_blocks": [],
            }
        },
        "needs at least 3 stages",
    ),
    "convolutions that shrink a map": ({"fpn_kernel_size": 3}, "fpn_kernel_size 3.* must keep the size of a map"),
}

MODEL_ERRORS = {
    "image sizes that differ": (
        {"prompt_encoder_config": {"image_size": 512}},
        r"prompt_encoder_config.image_size 512 and vision_config.* must agree",
    ),
    "patches of another size": (
        {"prompt_encoder_config": {"patch_size": 8}},
        r"patch_size 8 gives image embeddings of \(128, 128\)",
    ),
    "widths that differ": ({"mask_decoder_config": {"hidden_size": 128}}, "these widths must be equal"),
    "heads of no whole width": (
        {"mask_decoder_config": {"num_attention_heads": 6}},
        "must divide by attention_downsample_rate x num_attention_heads = 2 x 6",
    ),
    "a width that does not narrow": (
        {"mask_decoder_config": {"hidden_size": 100}},
        "hidden_size must be a multiple of 8, got 100",
    ),
    "no masks": ({"mask_decoder_config": {"num_multimask_outputs": 0}}, "num_multimask_outputs must be at least 1"),
    "no embedding for corners": (
        {"prompt_encoder_config": {"num_point_embeddings": 2}},
        "num_point_embeddings must be at least 4",
    ),
    "mask channels that do not split": (
        {"prompt_encoder_config": {"mask_input_channels": 6}},
        "mask_input_channels must be a multiple of 4",
    ),
}

VIDEO_ERRORS = {
    "another image size": ({"image_size": 512}, "image_size 512 and vision_config.* must agree"),
    "another rotary grid": (
        {"memory_attention_rope_feat_sizes": [32, 32]},
        r"must be the size of the image embedding as \[width, height\], \[64, 64\]",
    ),
    "memory attention of another width": (
        {"memory_attention_hidden_size": 128},
        "memory_attention_hidden_size must equal fpn_hidden_size = 256, got 128",
    ),
    "a downsampler of another width": (
        {"mask_downsampler_embed_dim": 128},
        "mask_downsampler_embed_dim 128 must equal",
    ),
    "pointers that do not split": ({"memory_encoder_output_channels": 96}, "must divide fpn_hidden_size 256"),
    "masks at another resolution": ({"mask_downsampler_total_stride": 8}, "mask_downsampler_total_stride 8 must equal"),
    "no memory": ({"num_maskmem": 0}, "num_maskmem must be at least 1, got 0"),
    "memories of its own kind": ({"memory_selection": 1}, "must be the name of a memory policy, got 1"),
}


FIELD_ERRORS = {
    "a negative width": ("hidden_size", -8, "hidden_size must be at least 1, got -8"),
    "no heads": ("num_attention_heads", 0, "num_attention_heads must be at least 1, got 0"),
    "no heads in a stage": (
        "num_attention_heads_per_stage",
        [1, 0, 4, 8],
        r"num_attention_heads_per_stage\[1\] must be at least 1, got 0",
    ),
    "negative widths": ("embed_dim_per_stage", [96, -192, 384, 768], r"embed_dim_per_stage\[1\] must be at least 1"),
    "more layers than a loop ends": (
        "blocks_per_stage",
        [1, 2, 2**63, 2],
        r"blocks_per_stage\[2\] must be at most 1000, got 9223372036854775808",
    ),
    "no stages": ("blocks_per_stage", [], "blocks_per_stage needs at least one stage"),
    "an unknown activation": ("hidden_act", "gelu9", "hidden_act must be one of .*relu.*, got 'gelu9'"),
    "no activation": ("hidden_act", None, "hidden_act must be one of .*, got None"),
    "a text for a list": ("window_size_per_stage", "8888", "must be a list of whole numbers, got '8888'"),
    "a bool for a number": ("num_channels", True, "num_channels must be a whole number, got True"),
    "a fraction for a number": ("num_channels", 3.0, "num_channels must be a whole number, got 3.0"),
    "a text for a number": ("mlp_ratio", "4", "mlp_ratio must be a finite number, got '4'"),
    "no ratio": ("mlp_ratio", 0.0, "mlp_ratio must be more than 0, got 0.0"),
    "no number": ("layer_norm_eps", float("nan"), "layer_norm_eps must be a finite number, got nan"),
    "a bool for a size": ("image_size", True, "image_size must be a positive int or a pair"),
    "a negative padding": ("patch_padding", -1, r"patch_padding\[0\] must be at least 0, got -1"),
}

TOP_LEVEL_ERRORS = {
    "a number for a flag": ("multimask_output_in_sam", 1, "multimask_output_in_sam must be True or False, got 1"),
    "too many layers": ("memory_attention_num_layers", 2**63, "memory_attention_num_layers must be at most 1000"),
    "more than all": ("memory_attention_dropout", 1.5, "memory_attention_dropout must be at most 1, got 1.5"),
    "fewer than all frames": ("max_cond_frame_num", -2, "max_cond_frame_num must be at least -1, got -2"),
    "a list for a part": ("mask_decoder_config", [256], "mask_decoder_config must be a Sam2VideoMaskDecoderConfig or"),
    "a rotary grid of texts": ("memory_attention_rope_feat_sizes", "6464", "must be a list of whole numbers"),
}


class TestFields:
    @pytest.mark.parametrize("case", FIELD_ERRORS)
    def test_trunk_refuses(self, case):
        name, value, message = FIELD_ERRORS[case]
        with pytest.raises(ValueError, match=message):
            Sam2HieraDetConfig(**{name: value})

    @pytest.mark.parametrize("case", TOP_LEVEL_ERRORS)
    def test_video_model_refuses(self, case):
        name, value, message = TOP_LEVEL_ERRORS[case]
        with pytest.raises(ValueError, match=message):
            Sam2VideoConfig(**{name: value})

    def test_numbers_of_numpy_are_taken_and_saved(self, tmp_path):
        config = Sam2VideoConfig(
            num_maskmem=np.int64(5), memory_attention_dropout=np.float32(0.5), multimask_output_in_sam=np.bool_(True)
        ).with_image_size(np.int64(512))
        config = reload(config, tmp_path)
        assert (config.num_maskmem, config.image_size, config.memory_attention_dropout) == (5, 512, 0.5)
        assert all(type(value) in (int, float, bool) for value in (config.num_maskmem, config.multimask_output_in_sam))

    def test_a_whole_number_may_stand_for_a_float(self):
        config = Sam2VideoConfig(sigmoid_scale_for_mem_enc=20)
        assert type(config.sigmoid_scale_for_mem_enc) is float and config.sigmoid_scale_for_mem_enc == 20

    @pytest.mark.parametrize(
        "given, kept", [(128, 128), (np.int64(128), 128), ((64, 96), [64, 96]), ([64, 96], [64, 96])]
    )
    def test_the_trunks_image_size_stays_what_was_given(self, given, kept):
        config = Sam2HieraDetConfig(image_size=given, window_size_per_stage=[8, 4, 4, 2])
        assert config.image_size == kept and type(config.image_size) is type(kept)
        assert Sam2VisionConfig(backbone_config=config).input_size == read_size(kept, "size")

    def test_a_trunk_of_one_number_makes_a_model_that_transformers_loads(self, tmp_path):
        config = tiny_config()
        config.vision_config.backbone_config.image_size = 128
        assert config.vision_config.backbone_config.image_size // 4 == 32
        config = reload(config, tmp_path)
        assert config.vision_config.backbone_config.image_size == 128
        assert transformers.Sam2Config.from_pretrained(tmp_path).vision_config.backbone_config.image_size == 128
        with torch.device("meta"):
            expected = Sam2Model(tiny_config()).state_dict()
            assert Sam2Model(config).state_dict().keys() == expected.keys()

    def test_one_number_for_both_sides_stays_one(self, tmp_path):
        numbers = {"patch_kernel_size": 7, "patch_stride": 4, "patch_padding": 3, "query_stride": 2}
        config = Sam2HieraDetConfig(image_size=128, **numbers)
        assert {name: getattr(config, name) for name in numbers} == numbers
        assert config.image_size // config.patch_stride == 32
        assert config.feature_sizes() == Sam2HieraDetConfig(image_size=128).feature_sizes()
        assert config.both_sides("patch_stride") == (4, 4)
        assert {name: getattr(reload(config, tmp_path), name) for name in numbers} == numbers
        assert Sam2HieraDetConfig().patch_stride == [4, 4]

    @pytest.mark.parametrize("base", ["x", 0, float("nan")])
    def test_the_former_name_of_the_rotary_base_is_checked(self, base):
        with pytest.raises(ValueError, match="memory_attention_rope_theta must be"):
            Sam2VideoConfig(memory_attention_rope_theta=base)
        with pytest.raises(ValueError, match="memory_attention_rope_theta must be"):
            Sam2VideoConfig().memory_attention_rope_theta = base

    def test_patches_without_padding_are_allowed(self):
        config = Sam2HieraDetConfig(patch_kernel_size=4, patch_stride=4, patch_padding=0)
        assert config.patch_padding == 0
        assert config.both_sides("patch_padding") == (0, 0)

    def test_fields_that_became_wrong_are_refused_by_name(self):
        config = tiny_config()
        config.mask_decoder_config.num_hidden_layers = -1
        with pytest.raises(ValueError, match="num_hidden_layers must be at least 1, got -1"):
            Sam2Model(config)


class TestRefusals:
    @pytest.mark.parametrize("case", TRUNK_ERRORS)
    def test_trunk_with(self, case):
        values, message = TRUNK_ERRORS[case]
        with pytest.raises(ValueError, match=message):
            Sam2HieraDetConfig(**values)

    @pytest.mark.parametrize("case", VISION_ERRORS)
    def test_vision_encoder_with(self, case):
        values, message = VISION_ERRORS[case]
        with pytest.raises(ValueError, match=message):
            Sam2VisionConfig(**values)

    @pytest.mark.parametrize("config_class", [Sam2Config, Sam2VideoConfig])
    @pytest.mark.parametrize("case", MODEL_ERRORS)
    def test_model_with(self, config_class, case):
        values, message = MODEL_ERRORS[case]
        with pytest.raises(ValueError, match=message):
            config_class(**values)

    @pytest.mark.parametrize("case", VIDEO_ERRORS)
    def test_video_model_with(self, case):
        values, message = VIDEO_ERRORS[case]
        with pytest.raises(ValueError, match=message):
            Sam2VideoConfig(**values)

    @pytest.mark.parametrize("model_class", [Sam2Model, Sam2VideoModel])
    def test_what_became_wrong_after_construction_is_refused_by_the_model(self, model_class):
        config = tiny_config(video=model_class is Sam2VideoModel)
        config.prompt_encoder_config.image_size = 64
        with pytest.raises(ValueError, match="must agree"):
            model_class(config)
