"""Nested configurations of SAM 2.

Field names and `model_type`s are those of the checkpoints on the Hub. Sizes that follow from others (feature maps,
rotary grids, ...) are derived when they are left out, and refused when they contradict each other.
"""

from __future__ import annotations

import copy
import os
from typing import Any, ClassVar, TypeVar

from transformers import PreTrainedConfig, configuration_utils

from .hub.remote_code import SavesItsCode
from .presets import PRESETS

Size = int | list[int] | tuple[int, int]
ConfigT = TypeVar("ConfigT", bound="_PromptableConfig")


def as_pair(name: str, size: Size) -> tuple[int, int]:
    """Returns `size` as (height, width); an int means a square. `name` is what an error calls it."""
    pair = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"{name} must be a positive int or a pair (height, width) of them, got {size!r}")
    return pair[0], pair[1]


def _compact(size: tuple[int, int]) -> int | list[int]:
    """The shortest spelling of a size: an int for a square, as the published configs write it."""
    return size[0] if size[0] == size[1] else list(size)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _specified(parts: dict[str, type]) -> dict[str, Any]:
    """The parts of a configuration as transformers 5.20 and later describe them, which keeps saved files short.

    Older versions read the classes alone.
    """
    describe = getattr(configuration_utils, "SubConfigSpec", None)
    return dict(parts) if describe is None else {name: describe(config_class=part) for name, part in parts.items()}


class Sam2HieraDetConfig(PreTrainedConfig):
    """The image trunk: Hiera with four stages, windowed attention and a few global blocks (arXiv 2306.00989).

    Lists hold one value a stage. `global_attention_blocks` counts blocks through all stages, from 0. Sizes of the
    patch projection and `query_stride` are (height, width); `image_size` is in pixels.
    """

    model_type = "sam2_hiera_det_model"
    base_config_key = "backbone_config"

    hidden_size: int = 96
    num_attention_heads: int = 1
    num_channels: int = 3
    image_size: Any = None
    patch_kernel_size: Any = None
    patch_stride: Any = None
    patch_padding: Any = None
    query_stride: Any = None
    window_positional_embedding_background_size: Any = None
    num_query_pool_stages: int = 3
    blocks_per_stage: Any = None
    embed_dim_per_stage: Any = None
    num_attention_heads_per_stage: Any = None
    window_size_per_stage: Any = None
    global_attention_blocks: Any = None
    mlp_ratio: float = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    _pair_defaults: ClassVar[dict[str, int]] = {
        "image_size": 1024,
        "patch_kernel_size": 7,
        "patch_stride": 4,
        "patch_padding": 3,
        "query_stride": 2,
        "window_positional_embedding_background_size": 7,
    }
    _stage_defaults: ClassVar[dict[str, list[int]]] = {
        "blocks_per_stage": [1, 2, 7, 2],
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 14, 7],
        "global_attention_blocks": [5, 7, 9],
    }

    def __post_init__(self, **kwargs: Any) -> None:
        for name, side in self._pair_defaults.items():
            value = getattr(self, name)
            setattr(self, name, list(as_pair(name, side if value is None else value)))
        for name, per_stage in self._stage_defaults.items():
            value = getattr(self, name)
            setattr(self, name, list(per_stage if value is None else value))
        super().__post_init__(**kwargs)
        self.check()

    @property
    def channels(self) -> list[int]:
        """Of every stage's output, from high to low resolution."""
        return list(self.embed_dim_per_stage)

    def feature_sizes(self) -> list[list[int]]:
        """(height, width) of every stage's output, from high to low resolution."""
        sizes = [[side // stride for side, stride in zip(self.image_size, self.patch_stride, strict=True)]]
        for stage in range(1, len(self.blocks_per_stage)):
            pooled = stage <= self.num_query_pool_stages
            strides = self.query_stride if pooled else (1, 1)
            sizes.append([side // stride for side, stride in zip(sizes[-1], strides, strict=True)])
        return sizes

    def check(self) -> None:
        """Raises a `ValueError` that names the fields if values contradict each other."""
        stages = len(self.blocks_per_stage)
        for name in ("embed_dim_per_stage", "num_attention_heads_per_stage", "window_size_per_stage"):
            given = getattr(self, name)
            _require(
                len(given) == stages,
                f"{name} needs one value for each of the {stages} stages in blocks_per_stage, got {given}",
            )
        for dim, heads in zip(self.embed_dim_per_stage, self.num_attention_heads_per_stage, strict=True):
            _require(
                dim % heads == 0,
                f"embed_dim_per_stage {self.embed_dim_per_stage} must divide by num_attention_heads_per_stage "
                f"{self.num_attention_heads_per_stage}",
            )
        _require(
            self.hidden_size == self.embed_dim_per_stage[0],
            f"hidden_size {self.hidden_size} must equal embed_dim_per_stage[0] = {self.embed_dim_per_stage[0]}",
        )
        _require(
            all(0 <= block < sum(self.blocks_per_stage) for block in self.global_attention_blocks),
            f"global_attention_blocks {self.global_attention_blocks} must lie in 0..{sum(self.blocks_per_stage) - 1}",
        )
        self._check_windows()
        self._check_patches()
        self._check_image_size()

    def _check_windows(self) -> None:
        # The block that opens a pooled stage pools within the windows of the stage before.
        for stage in range(1, min(self.num_query_pool_stages + 1, len(self.blocks_per_stage))):
            window = self.window_size_per_stage[stage - 1]
            is_global = sum(self.blocks_per_stage[:stage]) in self.global_attention_blocks
            _require(
                is_global or all(window % stride == 0 for stride in self.query_stride),
                f"window_size_per_stage[{stage - 1}] = {window} must be a multiple of query_stride "
                f"{self.query_stride}, by which stage {stage} pools it",
            )

    def _check_patches(self) -> None:
        sides = zip(self.patch_kernel_size, self.patch_stride, self.patch_padding, strict=True)
        for kernel, stride, padding in sides:
            _require(
                0 < kernel - 2 * padding <= stride,
                f"patch_kernel_size {self.patch_kernel_size} less twice patch_padding {self.patch_padding} must lie "
                f"in 1..patch_stride {self.patch_stride}, so that every stride gives one patch",
            )

    def _check_image_size(self) -> None:
        # Every stage halves the map, the neck doubles it again, and the window embedding tiles the first map.
        pools = min(self.num_query_pool_stages, len(self.blocks_per_stage) - 1)
        for side, patch, query in zip(self.image_size, self.patch_stride, self.query_stride, strict=True):
            step = patch * query**pools
            _require(side % step == 0, f"image_size {self.image_size} must be a multiple of {step} on both sides")
            window = self.window_size_per_stage[0]
            _require(
                side // patch % window == 0,
                f"image_size {self.image_size} gives a first feature map that window_size_per_stage[0] = {window} "
                f"does not tile; use multiples of {patch * window}",
            )


_TRUNK_CONFIGS: dict[str, type[PreTrainedConfig]] = {Sam2HieraDetConfig.model_type: Sam2HieraDetConfig}


def register_trunk_config(config_class: type[PreTrainedConfig]) -> None:
    """Makes `Sam2VisionConfig.backbone_config` take a class of configurations; see `network.trunks.register_trunk`.

    Raises:
        ValueError: if its `model_type` belongs to another class.
    """
    known = _TRUNK_CONFIGS.setdefault(config_class.model_type, config_class)
    if known is not config_class:
        raise ValueError(f"the model_type {config_class.model_type!r} belongs to {known.__name__} already")


def _build_trunk_config(given: Any) -> PreTrainedConfig:
    """The trunk's configuration from a config, a dict or nothing: Hiera's unless `model_type` names another."""
    name = given.get("model_type") if isinstance(given, dict) else getattr(given, "model_type", None)
    return _build(_TRUNK_CONFIGS.get(name or "", Sam2HieraDetConfig), given)


def _named_fields(config: PreTrainedConfig, *names: str) -> str:
    """Fields with their values, as an error names them; of a trunk that has none of them, the whole configuration."""
    fields = [f"{name} {getattr(config, name)}" for name in names if hasattr(config, name)]
    return " and ".join(fields) or f"backbone_config ({type(config).__name__})"


class Sam2VisionConfig(PreTrainedConfig):
    """Trunk and feature pyramid: `backbone_config` is the trunk, `fpn_hidden_size` the width of the image features.

    `backbone_channel_list` runs from low to high resolution, `backbone_feature_sizes` (height, width) from high to
    low; both follow from the trunk when left out. `fpn_top_down_levels` are the levels (0 is the finest) that
    receive the features of the level above them.
    """

    model_type = "sam2_vision_model"
    base_config_key = "vision_config"
    sub_configs: ClassVar[dict[str, type]] = {"backbone_config": Sam2HieraDetConfig}
    sub_configs_defaults: ClassVar[dict[str, Any]] = _specified(sub_configs)

    backbone_config: Any = None
    backbone_channel_list: Any = None
    backbone_feature_sizes: Any = None
    fpn_hidden_size: int = 256
    fpn_kernel_size: int = 1
    fpn_stride: int = 1
    fpn_padding: int = 0
    fpn_top_down_levels: Any = None
    num_feature_levels: int = 3
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        self.backbone_config = _build_trunk_config(self.backbone_config)
        backbone = self.backbone_config
        if self.backbone_channel_list is None:
            self.backbone_channel_list = backbone.channels[::-1]
        if self.backbone_feature_sizes is None:
            self.backbone_feature_sizes = backbone.feature_sizes()[: self.num_feature_levels]
        if self.fpn_top_down_levels is None:
            self.fpn_top_down_levels = [2, 3]
        super().__post_init__(**kwargs)
        self.check()

    def check(self) -> None:
        """Raises a `ValueError` that names the fields if values contradict each other."""
        backbone = self.backbone_config
        if hasattr(backbone, "check"):
            backbone.check()
        _require(
            list(self.backbone_channel_list) == backbone.channels[::-1],
            f"backbone_channel_list {self.backbone_channel_list} must be the trunk's channels reversed: "
            f"{backbone.channels[::-1]}",
        )
        _require(
            self.num_feature_levels == 3,
            f"num_feature_levels must be 3 (the mask decoder reads three), got {self.num_feature_levels}",
        )
        self._check_pyramid()
        expected = backbone.feature_sizes()[: self.num_feature_levels]
        _require(
            [list(size) for size in self.backbone_feature_sizes] == expected,
            f"backbone_feature_sizes {self.backbone_feature_sizes} do not follow from image_size "
            f"{backbone.image_size}: expected {expected}",
        )

    def _check_pyramid(self) -> None:
        sizes = self.backbone_config.feature_sizes()
        _require(
            len(sizes) >= self.num_feature_levels,
            f"{_named_fields(self.backbone_config, 'blocks_per_stage')} needs at least {self.num_feature_levels} "
            "stages",
        )
        # The decoder doubles the coarsest map twice, the top-down path doubles each level that it adds to the next.
        doubled = {*range(1, self.num_feature_levels), *(level + 1 for level in self.fpn_top_down_levels)}
        _require(
            all(sizes[level - 1] == [2 * side for side in sizes[level]] for level in doubled if level < len(sizes)),
            f"{_named_fields(self.backbone_config, 'query_stride', 'num_query_pool_stages')} must halve the map from "
            f"stage to stage, got {sizes}",
        )
        _require(
            self.fpn_stride == 1 and self.fpn_kernel_size == 2 * self.fpn_padding + 1,
            f"fpn_kernel_size {self.fpn_kernel_size}, fpn_stride {self.fpn_stride} and fpn_padding {self.fpn_padding} "
            "must keep the size of a map, as 1, 1, 0 or 3, 1, 1 do",
        )


class Sam2PromptEncoderConfig(PreTrainedConfig):
    """Embedding of points, boxes and masks. `image_size` and `patch_size` are pixels of the model's input."""

    model_type = "sam2_prompt_encoder"
    base_config_key = "prompt_encoder_config"

    hidden_size: int = 256
    image_size: Any = 1024
    patch_size: Any = 16
    mask_input_channels: int = 16
    num_point_embeddings: int = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    scale: int | float = 1

    def __post_init__(self, **kwargs: Any) -> None:
        for name in ("image_size", "patch_size"):
            setattr(self, name, _compact(as_pair(name, getattr(self, name))))
        super().__post_init__(**kwargs)
        self.check()

    def check(self) -> None:
        """Raises a `ValueError` that names the fields if values contradict each other."""
        _require(
            self.num_point_embeddings >= 4,
            f"num_point_embeddings must be at least 4 (two kinds of points, two corners), got "
            f"{self.num_point_embeddings}",
        )
        _require(
            self.mask_input_channels % 4 == 0,
            f"mask_input_channels must be a multiple of 4, got {self.mask_input_channels}",
        )

    @property
    def image_embedding_size(self) -> tuple[int, int]:
        """(height, width) of the image embedding that prompts are combined with."""
        image, patch = as_pair("image_size", self.image_size), as_pair("patch_size", self.patch_size)
        return image[0] // patch[0], image[1] // patch[1]


class Sam2MaskDecoderConfig(PreTrainedConfig):
    """Two-way transformer and mask heads.

    `dynamic_multimask_*` governs the fall-back of a single, unstable mask to the best of the multimask outputs.
    """

    model_type = "sam2_mask_decoder"
    base_config_key = "mask_decoder_config"

    hidden_size: int = 256
    hidden_act: str = "gelu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    dynamic_multimask_via_stability: bool = True
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98

    def check(self) -> None:
        """Raises a `ValueError` that names the fields if values contradict each other."""
        _require(
            self.num_multimask_outputs >= 1,
            f"num_multimask_outputs must be at least 1, got {self.num_multimask_outputs}",
        )
        _require(self.hidden_size % 8 == 0, f"hidden_size must be a multiple of 8, got {self.hidden_size}")
        _require(
            self.hidden_size % (self.attention_downsample_rate * self.num_attention_heads) == 0,
            f"hidden_size {self.hidden_size} must divide by attention_downsample_rate x num_attention_heads = "
            f"{self.attention_downsample_rate} x {self.num_attention_heads}",
        )


class Sam2VideoPromptEncoderConfig(Sam2PromptEncoderConfig):
    """The prompt encoder's configuration as a video checkpoint names it."""

    model_type = "sam2_video_prompt_encoder"


class Sam2VideoMaskDecoderConfig(Sam2MaskDecoderConfig):
    """The mask decoder's configuration as a video checkpoint names it."""

    model_type = "sam2_video_mask_decoder"


def _build(config_class: type[PreTrainedConfig], given: Any) -> PreTrainedConfig:
    """A sub-configuration from a config, a dict or nothing; a config of the like kind is taken by its values."""
    if isinstance(given, config_class):
        return given
    values = given.to_dict() if isinstance(given, PreTrainedConfig) else dict(given or {})
    values.pop("model_type", None)
    return config_class(**values)


class _PromptableConfig(SavesItsCode, PreTrainedConfig):
    """What `Sam2Config` and `Sam2VideoConfig` share: presets, one image size, and the check that the parts fit."""

    readable_types: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read `config.json`. Raises a `ValueError` for the configuration of another model, naming both types."""
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        found = config_dict.get("model_type")
        expected = " or ".join(map(repr, cls.readable_types))
        _require(
            found is None or found in cls.readable_types,
            f"{pretrained_model_name_or_path} holds a model of type {found!r}, but {cls.__name__} reads {expected}",
        )
        return config_dict, kwargs

    @classmethod
    def from_preset(cls: type[ConfigT], name: str, image_size: Size | None = None, **overrides: Any) -> ConfigT:
        """The configuration of a published checkpoint, e.g. `"sam2.1-hiera-tiny"` (see `PRESETS`).

        `image_size` (pixels, int or (height, width)) resizes every part consistently; other keywords replace
        top-level fields, a part's configuration as a whole. Raises a `ValueError` for an unknown name.
        """
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; expected one of {sorted(PRESETS)}")
        preset = copy.deepcopy(PRESETS[name])
        video = preset.pop("video")
        if issubclass(cls, Sam2VideoConfig):
            preset.update(video)
        config = cls(**{**preset, **overrides})
        return config if image_size is None else config.with_image_size(image_size)

    def with_image_size(self: ConfigT, image_size: Size) -> ConfigT:
        """A copy of this configuration for another input size in pixels. The weights stay the same."""
        values = self.to_dict()
        size = as_pair("image_size", image_size)
        values["vision_config"]["backbone_config"]["image_size"] = list(size)
        values["vision_config"]["backbone_feature_sizes"] = None
        values["prompt_encoder_config"]["image_size"] = _compact(size)
        if "memory_attention_rope_feat_sizes" in values:
            values["image_size"] = _compact(size)
            values["memory_attention_rope_feat_sizes"] = None
        values.pop("model_type")
        return type(self)(**values)

    def _check_parts(self) -> None:
        vision, prompts, decoder = self.vision_config, self.prompt_encoder_config, self.mask_decoder_config
        for part in (vision, prompts, decoder):
            part.check()
        _require(
            as_pair("image_size", prompts.image_size) == tuple(vision.backbone_config.image_size),
            f"prompt_encoder_config.image_size {prompts.image_size} and "
            f"vision_config.backbone_config.image_size {vision.backbone_config.image_size} must agree",
        )
        coarsest = tuple(vision.backbone_feature_sizes[-1])
        _require(
            prompts.image_embedding_size == coarsest,
            f"prompt_encoder_config.patch_size {prompts.patch_size} gives image embeddings of "
            f"{prompts.image_embedding_size}, but the last of backbone_feature_sizes is {coarsest}",
        )
        widths = {
            "vision_config.fpn_hidden_size": vision.fpn_hidden_size,
            "prompt_encoder_config.hidden_size": prompts.hidden_size,
            "mask_decoder_config.hidden_size": decoder.hidden_size,
        }
        _require(len(set(widths.values())) == 1, f"these widths must be equal: {widths}")


class Sam2Config(_PromptableConfig):
    """Configuration of `Sam2Model`: vision encoder, prompt encoder and mask decoder."""

    model_type = "sam2"
    readable_types: ClassVar[tuple[str, ...]] = ("sam2", "sam2_video")
    sub_configs: ClassVar[dict[str, type]] = {
        "vision_config": Sam2VisionConfig,
        "prompt_encoder_config": Sam2PromptEncoderConfig,
        "mask_decoder_config": Sam2MaskDecoderConfig,
    }
    sub_configs_defaults: ClassVar[dict[str, Any]] = _specified(sub_configs)
    # What the Trainer does not collect when it evaluates: features, as large as the pictures.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "image_embeddings",
        "vision_hidden_states",
        "vision_attentions",
        "mask_decoder_attentions",
    ]

    vision_config: Any = None
    prompt_encoder_config: Any = None
    mask_decoder_config: Any = None
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        for name, config_class in self.sub_configs.items():
            setattr(self, name, _build(config_class, getattr(self, name)))
        super().__post_init__(**kwargs)
        self.check()

    def check(self) -> None:
        """Raises a `ValueError` that names the fields if values contradict each other."""
        self._check_parts()

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read `config.json`; of a video checkpoint, keep the image part."""
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if config_dict.get("model_type") == Sam2VideoConfig.model_type:
            video_only = set(Sam2VideoConfig.__dataclass_fields__) - set(cls.__dataclass_fields__)
            video_only |= {"memory_attention_rope_theta", "architectures"}
            config_dict = {key: value for key, value in config_dict.items() if key not in video_only}
            config_dict["model_type"] = cls.model_type
        return config_dict, kwargs


class Sam2VideoConfig(_PromptableConfig):
    """Configuration of `Sam2VideoModel`: the image model's parts and the memory.

    Counts: `num_maskmem` spatial memories (the current frame's slot included), `max_object_pointers_in_encoder`
    pointers, `max_cond_frame_num` conditioning frames (-1: all). `multimask_*_pt_num` bounds the number of clicks for
    which several masks are predicted. The memory of a tracked frame is `sigmoid(logits) * sigmoid_scale_for_mem_enc +
    sigmoid_bias_for_mem_enc`. `add_all_frames_to_correct_as_cond` makes a corrected frame a conditioning frame.
    `track_before_first_prompt` also tracks an object on frames before its first prompt, from memories of the future.
    `memory_selection` is what tracking reads beside the memories of conditioning frames: "recent", those of the frames
    just passed, as SAM 2 does, or "visible", those of the frame just passed and of the last ones that show the object,
    however long ago: what was hidden is then more often found again.
    `fill_hole_area` fills holes of up to so many pixels in the low-resolution masks; 0 leaves them.
    """

    model_type = "sam2_video"
    readable_types: ClassVar[tuple[str, ...]] = ("sam2_video",)
    default_rope_type = "axial"
    sub_configs: ClassVar[dict[str, type]] = {
        "vision_config": Sam2VisionConfig,
        "prompt_encoder_config": Sam2VideoPromptEncoderConfig,
        "mask_decoder_config": Sam2VideoMaskDecoderConfig,
    }
    sub_configs_defaults: ClassVar[dict[str, Any]] = _specified(sub_configs)

    vision_config: Any = None
    prompt_encoder_config: Any = None
    mask_decoder_config: Any = None
    initializer_range: float = 0.02
    image_size: Any = None

    num_maskmem: int = 7
    max_object_pointers_in_encoder: int = 16
    max_cond_frame_num: int = -1
    sigmoid_scale_for_mem_enc: float = 20.0
    sigmoid_bias_for_mem_enc: float = -10.0
    enable_occlusion_spatial_embedding: bool = True
    enable_temporal_pos_encoding_for_object_pointers: bool = True
    multimask_output_in_sam: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    multimask_output_for_tracking: bool = True
    add_all_frames_to_correct_as_cond: bool = True
    track_before_first_prompt: bool = False
    memory_selection: str = "recent"
    fill_hole_area: int = 0

    memory_attention_hidden_size: int = 256
    memory_attention_num_layers: int = 4
    memory_attention_num_attention_heads: int = 1
    memory_attention_downsample_rate: int = 1
    memory_attention_feed_forward_hidden_size: int = 2048
    memory_attention_feed_forward_hidden_act: str = "relu"
    memory_attention_dropout: float = 0.1
    memory_attention_rope_feat_sizes: Any = None
    memory_attention_rope_dropout: float = 0.1
    rope_parameters: Any = None

    memory_encoder_hidden_size: int = 256
    memory_encoder_output_channels: int = 64
    mask_downsampler_embed_dim: int = 256
    mask_downsampler_kernel_size: int = 3
    mask_downsampler_stride: int = 2
    mask_downsampler_padding: int = 1
    mask_downsampler_total_stride: int = 16
    mask_downsampler_hidden_act: str = "gelu"
    memory_fuser_num_layers: int = 2
    memory_fuser_embed_dim: int = 256
    memory_fuser_intermediate_dim: int = 1024
    memory_fuser_kernel_size: int = 7
    memory_fuser_padding: int = 3
    memory_fuser_layer_scale_init_value: float = 1e-6
    memory_fuser_hidden_act: str = "gelu"

    def __post_init__(self, **kwargs: Any) -> None:
        for name, config_class in self.sub_configs.items():
            setattr(self, name, _build(config_class, getattr(self, name)))
        backbone = self.vision_config.backbone_config
        if self.image_size is None:
            self.image_size = _compact(tuple(backbone.image_size))
        if self.memory_attention_rope_feat_sizes is None:
            self.memory_attention_rope_feat_sizes = self._rotary_size()
        # Older configs carry the base of the rotary frequencies under a name of its own.
        legacy_theta = kwargs.pop("memory_attention_rope_theta", None)
        if legacy_theta is not None and not self.rope_parameters:
            self.rope_parameters = {"rope_theta": float(legacy_theta), "rope_type": self.default_rope_type}
        super().__post_init__(**kwargs)
        self.check()

    def _rotary_size(self) -> list[int]:
        """The size of the image embedding as [width, height], the order of published configs for this one field."""
        height, width = self.vision_config.backbone_feature_sizes[-1]
        return [width, height]

    def check(self) -> None:
        """Raises a `ValueError` that names the fields if values contradict each other."""
        self._check_parts()
        backbone, hidden = self.vision_config.backbone_config, self.vision_config.fpn_hidden_size
        _require(
            as_pair("image_size", self.image_size) == tuple(backbone.image_size),
            f"image_size {self.image_size} and vision_config.backbone_config.image_size {backbone.image_size} "
            "must agree",
        )
        _require(
            list(self.memory_attention_rope_feat_sizes) == self._rotary_size(),
            f"memory_attention_rope_feat_sizes {self.memory_attention_rope_feat_sizes} must be the size of the image "
            f"embedding as [width, height], {self._rotary_size()}",
        )
        for name in ("memory_attention_hidden_size", "memory_encoder_hidden_size", "memory_fuser_embed_dim"):
            width = getattr(self, name)
            _require(width == hidden, f"{name} must equal fpn_hidden_size = {hidden}, got {width}")
        _require(
            self.mask_downsampler_embed_dim == self.memory_encoder_hidden_size,
            f"mask_downsampler_embed_dim {self.mask_downsampler_embed_dim} must equal memory_encoder_hidden_size "
            f"{self.memory_encoder_hidden_size}",
        )
        _require(
            hidden % self.memory_encoder_output_channels == 0,
            f"memory_encoder_output_channels {self.memory_encoder_output_channels} must divide fpn_hidden_size "
            f"{hidden}: a pointer is cut into tokens of the memory's width",
        )
        patch = as_pair("patch_size", self.prompt_encoder_config.patch_size)
        _require(
            patch == (self.mask_downsampler_total_stride,) * 2,
            f"mask_downsampler_total_stride {self.mask_downsampler_total_stride} must equal "
            f"prompt_encoder_config.patch_size {self.prompt_encoder_config.patch_size}",
        )
        _require(self.num_maskmem >= 1, f"num_maskmem must be at least 1, got {self.num_maskmem}")
        _require(
            isinstance(self.memory_selection, str) and self.memory_selection != "",
            f"memory_selection must be the name of a memory policy, got {self.memory_selection!r}",
        )
