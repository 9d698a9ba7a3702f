"""Meta's names of models and of their settings, and what they are called here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, NamedTuple

from ..configuration_sam2 import Sam2VideoConfig

_SIZES = {"t": "tiny", "s": "small", "b+": "base-plus", "l": "large"}

PRESET_OF_FILE = {
    f"{version}_hiera_{letter}.yaml": f"{version}-hiera-{size}"
    for version in ("sam2", "sam2.1")
    for letter, size in _SIZES.items()
}
"""The preset that each of Meta's eight YAML files describes, by the file's name."""

CONFIG_FILES = {
    f"facebook/{preset}": (f"configs/{name.split('_')[0]}/{name}", f"{name.split('_')[0]}_hiera_{size}.pt")
    for name, preset in PRESET_OF_FILE.items()
    for size in [preset.rpartition("hiera-")[2].replace("-", "_")]
}
"""YAML file and original checkpoint of each repository on the Hub."""


OFFICIAL_BEHAVIOUR: dict[str, Any] = {
    "track_before_first_prompt": True,
    "add_all_frames_to_correct_as_cond": False,
}
"""The settings of `Sam2VideoConfig` whose defaults here are not Meta's."""


def preset_of(config_file: str) -> str:
    """The preset of one of Meta's YAML files.

    Args:
        config_file: `configs/sam2.1/sam2.1_hiera_l.yaml`, the file's name alone, or a path that ends with it.

    Returns:
        A key of `sam2_hf.PRESETS`.

    Raises:
        ValueError: for any other name.
    """
    name = PurePath(config_file).name
    name = name if name.endswith(".yaml") else f"{name}.yaml"
    if name not in PRESET_OF_FILE:
        raise ValueError(
            f"config_file must be one of Meta's eight, {', '.join(sorted(PRESET_OF_FILE))}, got {config_file!r}"
        )
    return PRESET_OF_FILE[name]


class Settings(NamedTuple):
    """What `apply_postprocessing` and overrides change, by the part of the package that takes it.

    config: fields of `Sam2VideoConfig`. decoder: fields of its `mask_decoder_config`. predictor: arguments of
    `SAM2VideoPredictor`. image_size: the model's input in pixels, None for that of the configuration. target: the class
    to build, by Meta's name of it or by that of a program's own; None for the usual one.
    """

    config: dict[str, Any]
    decoder: dict[str, Any]
    predictor: dict[str, Any]
    image_size: int | None = None
    target: str | None = None

    def apply(self, config: Sam2VideoConfig) -> Sam2VideoConfig:
        """The configuration with these settings; `config` itself is changed unless the image size is."""
        if self.image_size is not None:
            config = config.with_image_size(self.image_size)
        for name, value in {**OFFICIAL_BEHAVIOUR, **self.config}.items():
            setattr(config, name, value)
        for name, value in self.decoder.items():
            setattr(config.mask_decoder_config, name, value)
        return config


_DECODER = "sam_mask_decoder_extra_args."
_STABILITY = f"{_DECODER}dynamic_multimask_via_stability"

# Meta's names: which group of `Settings` takes them, under which name, and the type of the value.
_NAMES: dict[str, tuple[str, str, type]] = {
    _STABILITY: ("decoder", "dynamic_multimask_via_stability", bool),
    f"{_DECODER}dynamic_multimask_stability_delta": ("decoder", "dynamic_multimask_stability_delta", float),
    f"{_DECODER}dynamic_multimask_stability_thresh": ("decoder", "dynamic_multimask_stability_thresh", float),
    "add_all_frames_to_correct_as_cond": ("config", "add_all_frames_to_correct_as_cond", bool),
    "fill_hole_area": ("config", "fill_hole_area", int),
    "max_cond_frames_in_attn": ("config", "max_cond_frame_num", int),
    "max_obj_ptrs_in_encoder": ("config", "max_object_pointers_in_encoder", int),
    "num_maskmem": ("config", "num_maskmem", int),
    "multimask_min_pt_num": ("config", "multimask_min_pt_num", int),
    "multimask_max_pt_num": ("config", "multimask_max_pt_num", int),
    "multimask_output_in_sam": ("config", "multimask_output_in_sam", bool),
    "multimask_output_for_tracking": ("config", "multimask_output_for_tracking", bool),
    "sigmoid_scale_for_mem_enc": ("config", "sigmoid_scale_for_mem_enc", float),
    "sigmoid_bias_for_mem_enc": ("config", "sigmoid_bias_for_mem_enc", float),
    "binarize_mask_from_pts_for_mem_enc": ("predictor", "binarize_mask_from_pts_for_mem_enc", bool),
    "clear_non_cond_mem_around_input": ("predictor", "clear_non_cond_mem_around_input", bool),
    "non_overlap_masks": ("predictor", "non_overlap_masks", bool),
    "compile_image_encoder": ("predictor", "vos_optimized", bool),
    "image_size": ("image_size", "image_size", int),
    "_target_": ("target", "target", str),
}

# Meta's names of settings that exist here with one value alone.
_FIXED: dict[str, Callable[[Any], bool]] = {
    "memory_temporal_stride_for_eval": lambda value: value == 1,
    "non_overlap_masks_for_mem_enc": lambda value: value is False,
    "clear_non_cond_mem_for_multi_obj": lambda value: value is False,
    "use_mask_input_as_output_without_sam": lambda value: value is True,
    "directly_add_no_mem_embed": lambda value: value is True,
}


def read_settings(overrides: Iterable[str], apply_postprocessing: bool) -> Settings:
    """Meta's defaults with post-processing or without, and overrides on top of the defaults.

    Args:
        overrides: `hydra_overrides_extra`, each `++model.NAME=VALUE`.
        apply_postprocessing: whether a single mask that is not stable gives way to the best of three; and on videos,
            whether holes are filled and prompted masks binarised in memory. As in Meta's code, these go before
            overrides of the same names.

    Raises:
        ValueError: for a name that is unknown, or a value that it cannot have.
    """
    values: dict[str, Any] = {
        _STABILITY: False,
        "fill_hole_area": 0,
        "binarize_mask_from_pts_for_mem_enc": False,
    }
    for override in overrides:
        name, value = _read_override(override)
        if name in _FIXED:
            if not _FIXED[name](value):
                raise ValueError(f"hydra_overrides_extra: {name} cannot have the value {value!r} in {override!r}")
            continue
        values[name] = value
    if apply_postprocessing:
        values.update(
            {
                _STABILITY: True,
                f"{_DECODER}dynamic_multimask_stability_delta": 0.05,
                f"{_DECODER}dynamic_multimask_stability_thresh": 0.98,
                "fill_hole_area": 8,
                "binarize_mask_from_pts_for_mem_enc": True,
            }
        )
    groups: dict[str, dict[str, Any]] = {"config": {}, "decoder": {}, "predictor": {}, "image_size": {}, "target": {}}
    for name, value in values.items():
        group, ours, _ = _NAMES[name]
        groups[group][ours] = value
    return Settings(
        groups["config"], groups["decoder"], groups["predictor"], **groups["image_size"], **groups["target"]
    )


def _read_override(override: str) -> tuple[str, Any]:
    """Name and value of `++model.NAME=VALUE`, checked."""
    key, equals, text = str(override).partition("=")
    name = key.strip().lstrip("+")
    if not equals or not name.startswith("model."):
        raise ValueError(f"hydra_overrides_extra must hold texts like '++model.NAME=VALUE', got {override!r}")
    name = name.removeprefix("model.")
    if name not in _NAMES and name not in _FIXED:
        known = ", ".join(sorted(f"model.{other}" for other in (*_NAMES, *_FIXED)))
        raise ValueError(f"hydra_overrides_extra: unknown name in {override!r}; known are {known}")
    try:
        value = json.loads(text.strip().lower())
    except json.JSONDecodeError:
        value = text.strip()
    if name in _NAMES and not _is_a(value, _NAMES[name][2]):
        raise ValueError(
            f"hydra_overrides_extra: model.{name} must be of the type {_NAMES[name][2].__name__}, got {override!r}"
        )
    return name, value


def _is_a(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if kind is float else kind)
