"""Configurations of the image encoder: the trunk, and the feature pyramid on it."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .configuration_checks import (
    MOST_LAYERS,
    CheckedConfig,
    Reader,
    activation,
    build_part,
    checked,
    number,
    pair,
    pair_as_given,
    part_classes,
    require,
    size_as_given,
    whole,
    wholes,
)
from .sizes import Size, read_size


class Sam2HieraDetConfig(CheckedConfig):
    """The image trunk: Hiera with four stages, windowed attention and a few global blocks (arXiv 2306.00989).

    Lists hold one value a stage. `global_attention_blocks` counts blocks through all stages, from 0. Sizes of the
    patch projection and `query_stride` are (height, width), or one number for both, which stays one; `both_sides` reads
    them. `image_size` is in pixels.
    """

    model_type = "sam2_hiera_det_model"
    base_config_key = "backbone_config"

    hidden_size: int = checked(whole(), 96)
    num_attention_heads: int = checked(whole(), 1)
    num_channels: int = checked(whole(), 3)
    image_size: Any = None
    patch_kernel_size: Any = None
    patch_stride: Any = None
    patch_padding: Any = None
    query_stride: Any = None
    window_positional_embedding_background_size: Any = None
    num_query_pool_stages: int = checked(whole(at_least=0, at_most=MOST_LAYERS), 3)
    blocks_per_stage: Any = None
    embed_dim_per_stage: Any = None
    num_attention_heads_per_stage: Any = None
    window_size_per_stage: Any = None
    global_attention_blocks: Any = None
    mlp_ratio: float = checked(number(above=0), 4.0)
    hidden_act: str = checked(activation, "gelu")
    layer_norm_eps: float = checked(number(above=0), 1e-6)
    initializer_range: float = checked(number(at_least=0), 0.02)

    _with_defaults: ClassVar[dict[str, tuple[Reader, Any]]] = {
        "image_size": (size_as_given, [1024, 1024]),
        "patch_kernel_size": (pair_as_given(), [7, 7]),
        "patch_stride": (pair_as_given(), [4, 4]),
        "patch_padding": (pair_as_given(at_least=0), [3, 3]),
        "query_stride": (pair_as_given(), [2, 2]),
        "window_positional_embedding_background_size": (pair(), 7),
        "blocks_per_stage": (wholes(at_most=MOST_LAYERS), [1, 2, 7, 2]),
        "embed_dim_per_stage": (wholes(), [96, 192, 384, 768]),
        "num_attention_heads_per_stage": (wholes(), [1, 2, 4, 8]),
        "window_size_per_stage": (wholes(), [8, 4, 14, 7]),
        "global_attention_blocks": (wholes(at_least=0), [5, 7, 9]),
    }

    def read_fields(self) -> None:
        """Give every field its one form, and those that are None their defaults."""
        super().read_fields()
        for name, (reader, default) in self._with_defaults.items():
            value = getattr(self, name)
            setattr(self, name, reader(name, default if value is None else value))

    @property
    def channels(self) -> list[int]:
        """Of every stage's output, from high to low resolution."""
        return list(self.embed_dim_per_stage)

    def feature_sizes(self) -> list[list[int]]:
        """(height, width) of every stage's output, from high to low resolution."""
        sizes = [[side // stride for side, stride in zip(self._sides(), self.both_sides("patch_stride"), strict=True)]]
        for stage in range(1, len(self.blocks_per_stage)):
            pooled = stage <= self.num_query_pool_stages
            strides = self.both_sides("query_stride") if pooled else (1, 1)
            sizes.append([side // stride for side, stride in zip(sizes[-1], strides, strict=True)])
        return sizes

    def fields_at(self, image_size: Size) -> dict[str, Any]:
        """The fields that another input size changes.

        Blocks whose windows cover their whole map become global, so that they attend to the whole map at that size too:
        of a larger map they would see a part, and a smaller one would be padded with zeros that take part in attention.
        Windows that are smaller than their map stay, as in the original code.

        Args:
            image_size: (height, width) in pixels.
        """
        if image_size == self._sides():
            return {"image_size": self.image_size}
        covering = {*self.global_attention_blocks}
        ends = list(accumulate(self.blocks_per_stage))
        for stage, (size, window) in enumerate(zip(self.feature_sizes(), self.window_size_per_stage, strict=True)):
            if window >= max(size):
                # The block that opens a stage still sees the map of the stage before.
                first = 0 if stage == 0 else ends[stage - 1] + 1
                covering |= {*range(first, min(ends[stage] + 1, ends[-1]))}
        return {"image_size": list(image_size), "global_attention_blocks": sorted(covering)}

    def both_sides(self, name: str) -> tuple[int, int]:
        """(height, width) of a field that may be one number, such as `patch_stride`."""
        value = getattr(self, name)
        return (value, value) if isinstance(value, int) else (value[0], value[1])

    def _sides(self) -> Size:
        return read_size(self.image_size, "image_size")

    def check(self) -> None:
        """Check the fields and that they fit. Raises a `ValueError` that names the fields."""
        super().check()
        stages = len(self.blocks_per_stage)
        require(stages > 0, "blocks_per_stage needs at least one stage, got []")
        for name in ("embed_dim_per_stage", "num_attention_heads_per_stage", "window_size_per_stage"):
            given = getattr(self, name)
            require(
                len(given) == stages,
                f"{name} needs one value for each of the {stages} stages in blocks_per_stage, got {given}",
            )
        for dim, heads in zip(self.embed_dim_per_stage, self.num_attention_heads_per_stage, strict=True):
            require(
                dim % heads == 0,
                f"embed_dim_per_stage {self.embed_dim_per_stage} must divide by num_attention_heads_per_stage "
                f"{self.num_attention_heads_per_stage}",
            )
        require(
            self.hidden_size == self.embed_dim_per_stage[0],
            f"hidden_size {self.hidden_size} must equal embed_dim_per_stage[0] = {self.embed_dim_per_stage[0]}",
        )
        require(
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
            require(
                is_global or all(window % stride == 0 for stride in self.both_sides("query_stride")),
                f"window_size_per_stage[{stage - 1}] = {window} must be a multiple of query_stride "
                f"{self.query_stride}, by which stage {stage} pools it",
            )

    def _check_patches(self) -> None:
        names = ("patch_kernel_size", "patch_stride", "patch_padding")
        sides = zip(*map(self.both_sides, names), strict=True)
        for kernel, stride, padding in sides:
            require(
                0 < kernel - 2 * padding <= stride,
                f"patch_kernel_size {self.patch_kernel_size} less twice patch_padding {self.patch_padding} must lie "
                f"in 1..patch_stride {self.patch_stride}, so that every stride gives one patch",
            )

    def _check_image_size(self) -> None:
        # Every stage halves the map, the neck doubles it again, and the window embedding tiles the first map.
        pools = min(self.num_query_pool_stages, len(self.blocks_per_stage) - 1)
        for side, patch, query in zip(
            self._sides(), *map(self.both_sides, ("patch_stride", "query_stride")), strict=True
        ):
            step = patch * query**pools
            require(side % step == 0, f"image_size {self.image_size} must be a multiple of {step} on both sides")
            window = self.window_size_per_stage[0]
            require(
                side // patch % window == 0,
                f"image_size {self.image_size} gives a first feature map that window_size_per_stage[0] = {window} "
                f"does not tile; use multiples of {patch * window}",
            )


_TRUNK_CONFIGS: dict[str, type[PreTrainedConfig]] = {Sam2HieraDetConfig.model_type: Sam2HieraDetConfig}


def register_trunk_config(config_class: type[PreTrainedConfig]) -> None:
    """Make `Sam2VisionConfig.backbone_config` take a class of configurations; see `network.trunks.register_trunk`.

    Raises:
        ValueError: if its `model_type` belongs to another class.
    """
    known = _TRUNK_CONFIGS.setdefault(config_class.model_type, config_class)
    if known is not config_class:
        raise ValueError(f"the model_type {config_class.model_type!r} belongs to {known.__name__} already")


def _build_trunk_config(given: Any) -> PreTrainedConfig:
    """Make the trunk's configuration from a config, a dict or nothing: Hiera's unless `model_type` names another."""
    name = given.get("model_type") if isinstance(given, dict) else getattr(given, "model_type", None)
    return build_part(_TRUNK_CONFIGS.get(name or "", Sam2HieraDetConfig), given, "backbone_config")


def _named_fields(config: PreTrainedConfig, *names: str) -> str:
    """Fields with their values, as an error names them; of a trunk that has none of them, the whole configuration."""
    fields = [f"{name} {getattr(config, name)}" for name in names if hasattr(config, name)]
    return " and ".join(fields) or f"backbone_config ({type(config).__name__})"


class Sam2VisionConfig(CheckedConfig):
    """Trunk and feature pyramid: `backbone_config` is the trunk, `fpn_hidden_size` the width of the image features.

    `backbone_channel_list` runs from low to high resolution, `backbone_feature_sizes` (height, width) from high to
    low; both follow from the trunk when left out. `fpn_top_down_levels` are the levels (0 is the finest) that
    receive the features of the level above them.
    """

    model_type = "sam2_vision_model"
    base_config_key = "vision_config"
    sub_configs: ClassVar[dict[str, type]] = {"backbone_config": Sam2HieraDetConfig}
    sub_configs_defaults: ClassVar[dict[str, Any]] = part_classes(sub_configs)

    backbone_config: Any = None
    backbone_channel_list: Any = None
    backbone_feature_sizes: Any = None
    fpn_hidden_size: int = checked(whole(), 256)
    fpn_kernel_size: int = checked(whole(), 1)
    fpn_stride: int = checked(whole(), 1)
    fpn_padding: int = checked(whole(at_least=0), 0)
    fpn_top_down_levels: Any = None
    num_feature_levels: int = checked(whole(), 3)
    hidden_act: str = checked(activation, "gelu")
    layer_norm_eps: float = checked(number(above=0), 1e-6)
    initializer_range: float = checked(number(at_least=0), 0.02)

    def __post_init__(self, **kwargs: Any) -> None:
        self.backbone_config = _build_trunk_config(self.backbone_config)
        backbone = self.backbone_config
        if self.backbone_channel_list is None:
            self.backbone_channel_list = backbone.channels[::-1]
        if self.num_feature_levels == 3 and self.backbone_feature_sizes is None:
            self.backbone_feature_sizes = backbone.feature_sizes()[:3]
        if self.fpn_top_down_levels is None:
            self.fpn_top_down_levels = [2, 3]
        super().__post_init__(**kwargs)

    @property
    def input_size(self) -> Size:
        """(height, width) of the model's input in pixels; the trunk's `image_size` may be one number or two."""
        return read_size(self.backbone_config.image_size, "image_size")

    def read_fields(self) -> None:
        """Give every field its one form."""
        super().read_fields()
        self.backbone_channel_list = wholes()("backbone_channel_list", self.backbone_channel_list)
        self.fpn_top_down_levels = wholes(at_least=0)("fpn_top_down_levels", self.fpn_top_down_levels)

    def check(self) -> None:
        """Check the fields and that they fit the trunk. Raises a `ValueError` that names the fields."""
        super().check()
        backbone = self.backbone_config
        if hasattr(backbone, "check"):
            backbone.check()
        require(
            list(self.backbone_channel_list) == backbone.channels[::-1],
            f"backbone_channel_list {self.backbone_channel_list} must be the trunk's channels reversed: "
            f"{backbone.channels[::-1]}",
        )
        require(
            self.num_feature_levels == 3,
            f"num_feature_levels must be 3 (the mask decoder reads three), got {self.num_feature_levels}",
        )
        self._check_pyramid()
        expected = backbone.feature_sizes()[: self.num_feature_levels]
        require(
            [list(size) for size in self.backbone_feature_sizes] == expected,
            f"backbone_feature_sizes {self.backbone_feature_sizes} do not follow from image_size "
            f"{backbone.image_size}: expected {expected}",
        )

    def _check_pyramid(self) -> None:
        sizes = self.backbone_config.feature_sizes()
        require(
            len(sizes) >= self.num_feature_levels,
            f"{_named_fields(self.backbone_config, 'blocks_per_stage')} needs at least {self.num_feature_levels} "
            "stages",
        )
        # The decoder doubles the coarsest map twice, the top-down path doubles each level that it adds to the next.
        doubled = {*range(1, self.num_feature_levels), *(level + 1 for level in self.fpn_top_down_levels)}
        require(
            all(sizes[level - 1] == [2 * side for side in sizes[level]] for level in doubled if level < len(sizes)),
            f"{_named_fields(self.backbone_config, 'query_stride', 'num_query_pool_stages')} must halve the map from "
            f"stage to stage, got {sizes}",
        )
        require(
            self.fpn_stride == 1 and self.fpn_kernel_size == 2 * self.fpn_padding + 1,
            f"fpn_kernel_size {self.fpn_kernel_size}, fpn_stride {self.fpn_stride} and fpn_padding {self.fpn_padding} "
            "must keep the size of a map, as 1, 1, 0 or 3, 1, 1 do",
        )
