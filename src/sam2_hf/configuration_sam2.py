"""Nested configurations of SAM 2.

Field names and `model_type`s are those of the checkpoints on the Hub. Sizes that follow from others (feature maps,
rotary grids, ...) are derived when they are left out, and refused when they contradict each other.
"""

from __future__ import annotations

import copy
import os
from typing import Any, ClassVar, TypeVar

from .configuration_checks import (
    MOST_LAYERS,
    CheckedConfig,
    activation,
    build_part,
    checked,
    flag,
    number,
    part_classes,
    require,
    shortest_size,
    whole,
    wholes,
)
from .configuration_prompts import (
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)
from .configuration_vision import Sam2HieraDetConfig, Sam2VisionConfig, register_trunk_config
from .hub.remote_code import SavesItsCode
from .policy_setting import policy_setting
from .presets import PRESETS
from .sizes import read_size

__all__ = [
    "PRESETS",
    "Sam2Config",
    "Sam2HieraDetConfig",
    "Sam2MaskDecoderConfig",
    "Sam2PromptEncoderConfig",
    "Sam2PromptableConfig",
    "Sam2VideoConfig",
    "Sam2VideoMaskDecoderConfig",
    "Sam2VideoPromptEncoderConfig",
    "Sam2VisionConfig",
    "register_trunk_config",
]

Size = int | list[int] | tuple[int, int]
ConfigT = TypeVar("ConfigT", bound="Sam2PromptableConfig")


class Sam2PromptableConfig(SavesItsCode, CheckedConfig):
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
        require(
            found is None or found in cls.readable_types,
            f"{pretrained_model_name_or_path} holds a model of type {found!r}, but {cls.__name__} reads {expected}",
        )
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from the fields of `config.json`, as transformers does.

        Args:
            config_dict: the fields.
            kwargs: as in transformers; `image_size` (pixels, int or (height, width)) resizes every part, see
                `with_image_size`.

        Returns:
            The configuration; with `return_unused_kwargs` a pair of it and the rest of `kwargs`.

        Raises:
            ValueError: an image size that the model cannot have.
        """
        image_size = kwargs.pop("image_size", None)
        found = super().from_dict(config_dict, **kwargs)
        if image_size is None:
            return found
        if isinstance(found, tuple):
            return found[0].with_image_size(image_size), found[1]
        return found.with_image_size(image_size)

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
        """A copy of this configuration for another input size. The weights stay the same.

        What follows from the size: the maps of the trunk and of the feature pyramid; blocks whose windows cover their
        map, which attend to the whole map at every size (`Sam2HieraDetConfig.fields_at`); the frame of the prompts'
        coordinates and the image embedding that they are combined with; the rotary grid of memory attention, and with
        it the size of memories. Position embeddings of the trunk are stretched and repeated over its first map. Masks
        have a quarter of the input's size.

        Args:
            image_size: pixels, int or (height, width).

        Returns:
            The copy; of the size that the configuration has already, without any change.

        Raises:
            ValueError: a size that the trunk cannot have, with those that it can.
        """
        values = self.to_dict()
        size = read_size(image_size, "image_size")
        backbone = self.vision_config.backbone_config
        changes = backbone.fields_at(size) if hasattr(backbone, "fields_at") else {"image_size": list(size)}
        values["vision_config"]["backbone_config"].update(changes)
        values["vision_config"]["backbone_feature_sizes"] = None
        values["prompt_encoder_config"]["image_size"] = shortest_size("image_size", size)
        if "memory_attention_rope_feat_sizes" in values:
            values["image_size"] = shortest_size("image_size", size)
            values["memory_attention_rope_feat_sizes"] = None
        values.pop("model_type")
        return type(self)(**values)

    @property
    def num_channels(self) -> int:
        """Channels of the images, which the trunk's configuration holds."""
        return self.vision_config.backbone_config.num_channels

    @num_channels.setter
    def num_channels(self, value: int) -> None:
        self.vision_config.backbone_config.num_channels = whole()("num_channels", value)

    def _check_parts(self) -> None:
        vision, prompts, decoder = self.vision_config, self.prompt_encoder_config, self.mask_decoder_config
        for part in (vision, prompts, decoder):
            part.check()
        require(
            read_size(prompts.image_size, "image_size") == vision.input_size,
            f"prompt_encoder_config.image_size {prompts.image_size} and "
            f"vision_config.backbone_config.image_size {vision.backbone_config.image_size} must agree",
        )
        coarsest = tuple(vision.backbone_feature_sizes[-1])
        require(
            prompts.image_embedding_size == coarsest,
            f"prompt_encoder_config.patch_size {prompts.patch_size} gives image embeddings of "
            f"{prompts.image_embedding_size}, but the last of backbone_feature_sizes is {coarsest}",
        )
        widths = {
            "vision_config.fpn_hidden_size": vision.fpn_hidden_size,
            "prompt_encoder_config.hidden_size": prompts.hidden_size,
            "mask_decoder_config.hidden_size": decoder.hidden_size,
        }
        require(len(set(widths.values())) == 1, f"these widths must be equal: {widths}")


_read_base = number(above=0)


class Sam2Config(Sam2PromptableConfig):
    """Configuration of `Sam2Model`: vision encoder, prompt encoder and mask decoder."""

    model_type = "sam2"
    readable_types: ClassVar[tuple[str, ...]] = ("sam2", "sam2_video")
    sub_configs: ClassVar[dict[str, type]] = {
        "vision_config": Sam2VisionConfig,
        "prompt_encoder_config": Sam2PromptEncoderConfig,
        "mask_decoder_config": Sam2MaskDecoderConfig,
    }
    sub_configs_defaults: ClassVar[dict[str, Any]] = part_classes(sub_configs)
    # What the Trainer does not collect when it evaluates: features, as large as the images.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "image_embeddings",
        "vision_hidden_states",
        "vision_attentions",
        "mask_decoder_attentions",
    ]

    vision_config: Any = None
    prompt_encoder_config: Any = None
    mask_decoder_config: Any = None
    initializer_range: float = checked(number(at_least=0), 0.02)

    def __post_init__(self, **kwargs: Any) -> None:
        for name, config_class in self.sub_configs.items():
            setattr(self, name, build_part(config_class, getattr(self, name), name))
        super().__post_init__(**kwargs)

    def check(self) -> None:
        """Check the fields and that the parts fit. Raises a `ValueError` that names the fields."""
        super().check()
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


class Sam2VideoConfig(Sam2PromptableConfig):
    """Configuration of `Sam2VideoModel`: the image model's parts and the memory.

    Counts: `num_maskmem` spatial memories (the current frame's slot included), `max_object_pointers_in_encoder`
    pointers, `max_cond_frame_num` conditioning frames (-1: all). `multimask_*_pt_num` bounds the number of clicks for
    which several masks are predicted. The memory of a tracked frame is `sigmoid(logits) * sigmoid_scale_for_mem_enc +
    sigmoid_bias_for_mem_enc`; that of a prompted frame has the mask cut at 0 in place of the sigmoid, unless
    `binarize_prompted_memory` is off. `add_all_frames_to_correct_as_cond` makes a corrected frame a conditioning frame.
    `track_before_first_prompt` also tracks an object on frames before its first prompt, from memories of the future.
    `memory_policy` decides what tracking reads, keeps and promotes: a name, such as "sam2" (memories of the frames just
    passed) or "visible" (of the last ones that show the object), a dict of the name and settings, `{"name": "visible",
    "num_maskmem": 5}`, or a policy, which is stored as such a dict. Earlier versions called it `memory_selection`, and
    "sam2" was "recent"; both are read.
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
    sub_configs_defaults: ClassVar[dict[str, Any]] = part_classes(sub_configs)

    vision_config: Any = None
    prompt_encoder_config: Any = None
    mask_decoder_config: Any = None
    initializer_range: float = checked(number(at_least=0), 0.02)
    image_size: Any = None

    num_maskmem: int = checked(whole(at_most=MOST_LAYERS), 7)
    max_object_pointers_in_encoder: int = checked(whole(at_least=0), 16)
    max_cond_frame_num: int = checked(whole(at_least=-1), -1)
    sigmoid_scale_for_mem_enc: float = checked(number(), 20.0)
    sigmoid_bias_for_mem_enc: float = checked(number(), -10.0)
    enable_occlusion_spatial_embedding: bool = checked(flag, True)
    enable_temporal_pos_encoding_for_object_pointers: bool = checked(flag, True)
    multimask_output_in_sam: bool = checked(flag, True)
    multimask_min_pt_num: int = checked(whole(at_least=0), 0)
    multimask_max_pt_num: int = checked(whole(at_least=0), 1)
    multimask_output_for_tracking: bool = checked(flag, True)
    binarize_prompted_memory: bool = checked(flag, True)
    add_all_frames_to_correct_as_cond: bool = checked(flag, True)
    track_before_first_prompt: bool = checked(flag, False)
    memory_policy: Any = checked(policy_setting, "sam2")
    fill_hole_area: int = checked(whole(at_least=0), 0)

    memory_attention_hidden_size: int = checked(whole(), 256)
    memory_attention_num_layers: int = checked(whole(at_most=MOST_LAYERS), 4)
    memory_attention_num_attention_heads: int = checked(whole(), 1)
    memory_attention_downsample_rate: int = checked(whole(), 1)
    memory_attention_feed_forward_hidden_size: int = checked(whole(), 2048)
    memory_attention_feed_forward_hidden_act: str = checked(activation, "relu")
    memory_attention_dropout: float = checked(number(at_least=0, at_most=1), 0.1)
    memory_attention_rope_feat_sizes: Any = None
    memory_attention_rope_dropout: float = checked(number(at_least=0, at_most=1), 0.1)
    rope_parameters: Any = None

    memory_encoder_hidden_size: int = checked(whole(), 256)
    memory_encoder_output_channels: int = checked(whole(), 64)
    mask_downsampler_embed_dim: int = checked(whole(), 256)
    mask_downsampler_kernel_size: int = checked(whole(), 3)
    mask_downsampler_stride: int = checked(whole(), 2)
    mask_downsampler_padding: int = checked(whole(at_least=0), 1)
    mask_downsampler_total_stride: int = checked(whole(), 16)
    mask_downsampler_hidden_act: str = checked(activation, "gelu")
    memory_fuser_num_layers: int = checked(whole(at_least=0, at_most=MOST_LAYERS), 2)
    memory_fuser_embed_dim: int = checked(whole(), 256)
    memory_fuser_intermediate_dim: int = checked(whole(), 1024)
    memory_fuser_kernel_size: int = checked(whole(), 7)
    memory_fuser_padding: int = checked(whole(at_least=0), 3)
    memory_fuser_layer_scale_init_value: float = checked(number(), 1e-6)
    memory_fuser_hidden_act: str = checked(activation, "gelu")

    def __post_init__(self, **kwargs: Any) -> None:
        for name, config_class in self.sub_configs.items():
            setattr(self, name, build_part(config_class, getattr(self, name), name))
        if self.image_size is None:
            self.image_size = shortest_size("image_size", self.vision_config.input_size)
        if self.memory_attention_rope_feat_sizes is None:
            self.memory_attention_rope_feat_sizes = self._rotary_size()
        # Older configs carry the base of the rotary frequencies under a name of its own.
        legacy_theta = kwargs.pop("memory_attention_rope_theta", None)
        if legacy_theta is not None and not self.rope_parameters:
            base = _read_base("memory_attention_rope_theta", legacy_theta)
            self.rope_parameters = {"rope_theta": base, "rope_type": self.default_rope_type}
        # The former name of `memory_policy`.
        former_policy = kwargs.pop("memory_selection", None)
        if former_policy is not None:
            self.memory_policy = former_policy
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Read a configuration, with keywords in place of some fields; a policy among them becomes its description."""
        if "memory_policy" in kwargs:
            kwargs["memory_policy"] = policy_setting("memory_policy", kwargs["memory_policy"])
        return super().from_dict(config_dict, **kwargs)

    @property
    def memory_selection(self) -> Any:
        """The former name of `memory_policy`."""
        return self.memory_policy

    @memory_selection.setter
    def memory_selection(self, value: Any) -> None:
        self.memory_policy = value

    @property
    def memory_attention_rope_theta(self) -> float:
        """The base of the rotary frequencies, which `rope_parameters` holds."""
        return (self.rope_parameters or {}).get("rope_theta", 10000.0)

    @memory_attention_rope_theta.setter
    def memory_attention_rope_theta(self, value: float) -> None:
        parameters = self.rope_parameters or {"rope_type": self.default_rope_type}
        self.rope_parameters = {**parameters, "rope_theta": _read_base("memory_attention_rope_theta", value)}

    def _rotary_size(self) -> list[int]:
        """The size of the image embedding as [width, height], the order of published configs for this one field."""
        height, width = self.vision_config.backbone_feature_sizes[-1]
        return [width, height]

    def check(self) -> None:
        """Check the fields and that the parts fit. Raises a `ValueError` that names the fields."""
        super().check()
        self._check_parts()
        backbone, hidden = self.vision_config.backbone_config, self.vision_config.fpn_hidden_size
        require(
            read_size(self.image_size, "image_size") == self.vision_config.input_size,
            f"image_size {self.image_size} and vision_config.backbone_config.image_size {backbone.image_size} "
            "must agree",
        )
        rotary = wholes()("memory_attention_rope_feat_sizes", self.memory_attention_rope_feat_sizes)
        require(
            rotary == self._rotary_size(),
            f"memory_attention_rope_feat_sizes {self.memory_attention_rope_feat_sizes} must be the size of the image "
            f"embedding as [width, height], {self._rotary_size()}",
        )
        for name in ("memory_attention_hidden_size", "memory_encoder_hidden_size", "memory_fuser_embed_dim"):
            width = getattr(self, name)
            require(width == hidden, f"{name} must equal fpn_hidden_size = {hidden}, got {width}")
        require(
            self.mask_downsampler_embed_dim == self.memory_encoder_hidden_size,
            f"mask_downsampler_embed_dim {self.mask_downsampler_embed_dim} must equal memory_encoder_hidden_size "
            f"{self.memory_encoder_hidden_size}",
        )
        require(
            hidden % self.memory_encoder_output_channels == 0,
            f"memory_encoder_output_channels {self.memory_encoder_output_channels} must divide fpn_hidden_size "
            f"{hidden}: a pointer is cut into tokens of the memory's width",
        )
        patch = read_size(self.prompt_encoder_config.patch_size, "patch_size")
        require(
            patch == (self.mask_downsampler_total_stride,) * 2,
            f"mask_downsampler_total_stride {self.mask_downsampler_total_stride} must equal "
            f"prompt_encoder_config.patch_size {self.prompt_encoder_config.patch_size}",
        )
