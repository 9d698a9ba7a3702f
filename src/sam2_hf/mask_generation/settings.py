"""The arguments of mask generation, their defaults, and what is accepted for them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..arrays import to_numpy
from .crops import point_grid
from .mask_table import NMS_KINDS, OUTPUT_MODES

ALIASES = {
    "output_rle_masks": "output_rle_mask",  # documented by transformers beside the name in its code
    "points_per_side": "points_per_crop",  # the official generator's names
    "crop_n_layers": "crops_n_layers",
    "crop_nms_thresh": "crops_nms_thresh",
}


@dataclass(frozen=True)
class MaskGenerationSettings:
    """How masks are searched and which are kept. `Sam2MaskGenerationPipeline` says what each field means."""

    points_per_batch: int | None = 64
    points_per_crop: int = 32
    point_grids: Sequence[Any] | None = None
    crops_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: float = 1
    tile_size: int | None = None
    tile_overlap: int = 256
    tile_levels: int | None = None
    multimask_output: bool = True
    use_m2m: bool = False
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    low_res_region_area: float = 0
    max_hole_area: float | None = None
    max_sprinkle_area: float | None = None
    min_mask_region_area: float = 0
    box_nms_thresh: float | None = None
    crops_nms_thresh: float = 0.7
    nms: str = "box"
    progress: bool = False

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.point_grids is not None and len(self.point_grids) <= self.crops_n_layers:
            raise ValueError(
                f"point_grids must have a grid for each of the {self.crops_n_layers + 1} layers "
                f"(crops_n_layers + 1), got {len(self.point_grids)}"
            )
        if self.tile_size is not None and self.tile_overlap >= self.tile_size:
            raise ValueError(f"tile_overlap must be less than tile_size={self.tile_size}, got {self.tile_overlap}")
        if self.tile_size is not None and self.crops_n_layers > 0:
            raise ValueError(f"crops_n_layers must be 0 where tile_size is given, got {self.crops_n_layers}")
        for layer in range(self.crops_n_layers + 1):
            self.grid(layer)

    def grid(self, layer: int) -> np.ndarray:
        """The points of every crop of a layer, (points, 2) float32 as (x, y) between 0 and 1."""
        if self.point_grids is not None:
            return _checked_grid(self.point_grids[layer], layer)
        points_per_side = int(self.points_per_crop / self.crop_n_points_downscale_factor**layer)
        if points_per_side < 1:
            raise ValueError(
                f"crop_n_points_downscale_factor={self.crop_n_points_downscale_factor} leaves no points of "
                f"points_per_crop={self.points_per_crop} in crop layer {layer}"
            )
        return point_grid(points_per_side)


@dataclass(frozen=True)
class OutputSettings:
    """In which form masks are returned."""

    output_mode: str | None = None
    output_rle_mask: bool = False
    output_bboxes_mask: bool = False
    polygon_tolerance: float = 1.0

    def __post_init__(self) -> None:
        _check_fields(self)


def resolve_names(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments under the names of the settings' fields, or "timeout".

    Raises:
        TypeError: for one that does not exist, or is given under two names.
    """
    known = {field.name for settings in (MaskGenerationSettings, OutputSettings) for field in fields(settings)}
    known.add("timeout")
    resolved: dict[str, Any] = {}
    for given, value in arguments.items():
        name = ALIASES.get(given, given)
        if name not in known:
            close = difflib.get_close_matches(name, [*known, *ALIASES], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}"
            raise TypeError(f"mask generation has no argument {given!r}{hint}")
        if name in resolved:
            raise TypeError(f"mask generation got {name!r} under two names")
        resolved[name] = value
    return resolved


Rule = tuple[str, Callable[[Any], bool]]


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and least <= float(value) <= most


def _or_none(rule: Rule) -> Rule:
    return f"None or {rule[0]}", lambda value: value is None or rule[1](value)


_ANY_NUMBER: Rule = ("a finite number", _is_number)
_THRESHOLD: Rule = ("a number up to 1", lambda value: _is_number(value, most=1))
_FRACTION: Rule = ("a number from 0 to 1", lambda value: _is_number(value, 0, 1))
_NOT_NEGATIVE: Rule = ("a number of at least 0", lambda value: _is_number(value, 0))
_POSITIVE_COUNT: Rule = ("a whole number of at least 1", lambda value: _is_count(value, 1))
_BOOL: Rule = ("True or False", lambda value: isinstance(value, bool))

_RULES: dict[str, Rule] = {
    "points_per_batch": _or_none(_POSITIVE_COUNT),
    "points_per_crop": _POSITIVE_COUNT,
    "point_grids": ("None or a sequence of grids", lambda value: value is None or hasattr(value, "__len__")),
    "crops_n_layers": ("a whole number of at least 0", lambda value: _is_count(value, 0)),
    "crop_overlap_ratio": (
        "a number of at least 0 and less than 1",
        lambda value: _is_number(value, 0) and value < 1,
    ),
    "crop_n_points_downscale_factor": ("a number of at least 1", lambda value: _is_number(value, 1)),
    "tile_size": _or_none(_POSITIVE_COUNT),
    "tile_overlap": ("a whole number of at least 0", lambda value: _is_count(value, 0)),
    "tile_levels": _or_none(_POSITIVE_COUNT),
    "multimask_output": _BOOL,
    "use_m2m": _BOOL,
    "pred_iou_thresh": _THRESHOLD,
    "stability_score_thresh": _THRESHOLD,
    "stability_score_offset": _NOT_NEGATIVE,
    "mask_threshold": _ANY_NUMBER,
    "low_res_region_area": _NOT_NEGATIVE,
    "max_hole_area": _or_none(_NOT_NEGATIVE),
    "max_sprinkle_area": _or_none(_NOT_NEGATIVE),
    "min_mask_region_area": _NOT_NEGATIVE,
    "box_nms_thresh": _or_none(_FRACTION),
    "crops_nms_thresh": _FRACTION,
    "progress": _BOOL,
    "nms": (f"one of {NMS_KINDS}", lambda value: value in NMS_KINDS),
    "output_mode": _or_none((f"one of {OUTPUT_MODES}", lambda value: value in OUTPUT_MODES)),
    "output_rle_mask": _BOOL,
    "output_bboxes_mask": _BOOL,
    "polygon_tolerance": _NOT_NEGATIVE,
}


def _check_fields(settings: Any) -> None:
    for field in fields(settings):
        expected, is_valid = _RULES[field.name]
        value = getattr(settings, field.name)
        if not is_valid(value):
            raise ValueError(f"{field.name} must be {expected}, got {value!r}")


def _checked_grid(grid: Any, layer: int) -> np.ndarray:
    try:
        points = to_numpy(grid).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"point_grids[{layer}] must be (points, 2) as (x, y), got {grid!r}") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(f"point_grids[{layer}] must be (points, 2) as (x, y), got shape {tuple(points.shape)}")
    if not ((points >= 0) & (points <= 1)).all():
        raise ValueError(f"point_grids[{layer}] must lie between 0 and 1, as fractions of the crop's sides")
    return points
