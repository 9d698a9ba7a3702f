"""The settings of `Sam2ImageProcessor`: their defaults, and settings of a file or a call put over them, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ChannelDimension, PILImageResampling

from ..sizes import Size, read_size
from .value_range import ValueRange, Window, read_value_range


class PixelOptions(NamedTuple):
    """Every setting of a `Sam2ImageProcessor`, as a file stores it and a call may override it, with its default."""

    do_resize: bool = True
    size: Size = (1024, 1024)
    resample: int | PILImageResampling = PILImageResampling.BILINEAR
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: float | tuple[float, ...] = tuple(IMAGENET_DEFAULT_MEAN)
    image_std: float | tuple[float, ...] = tuple(IMAGENET_DEFAULT_STD)
    do_convert_rgb: bool = True
    mask_size: Size = (256, 256)
    input_data_format: str | ChannelDimension | None = None
    device: str | torch.device | None = None
    input_range: Window | None = None
    input_percentiles: Window | None = None
    nodata: float | None = None

    @property
    def value_range(self) -> ValueRange:
        """The window of the images' values."""
        return ValueRange(self.input_range, self.input_percentiles, self.nodata)


# Settings that transformers does not have: saved only where they are set.
VALUE_OPTIONS = ("input_range", "input_percentiles", "nodata")
# Settings of other image processors that change nothing here: callers may name them.
_WITHOUT_EFFECT = ("disable_grouping", "default_to_square", "crop_size", "pad_size")
_UNSUPPORTED = ("do_center_crop", "do_pad")


def sizes_at(size: Size, fields: dict[str, Any]) -> dict[str, Size]:
    """The sizes of another input than that of the fields of a file; masks keep their share of it."""
    if "mask_size" not in fields:
        return {"size": size, "mask_size": (size[0] // 4, size[1] // 4)}
    options = complete_options(PixelOptions(), fields)
    sides = zip(size, options.mask_size, options.size, strict=True)
    down, across = (side * mask // before for side, mask, before in sides)
    return {"size": size, "mask_size": (down, across)}


def complete_options(options: PixelOptions, overrides: dict[str, Any]) -> PixelOptions:
    """Put what is not None over `options`, in one form and checked."""
    given = {name: value for name, value in overrides.items() if value is not None}
    for name in set(given) - set(PixelOptions._fields):
        _refuse(name, given.pop(name))
    for name in given.keys() & {"size", "mask_size"}:
        given[name] = read_size(given[name], name)
    for name in given.keys() & {"image_mean", "image_std"}:
        value = given[name]
        given[name] = tuple(map(float, value)) if isinstance(value, Iterable) else float(value)
    options = options._replace(**given)
    limits, percentiles, nodata = read_value_range(options.input_range, options.input_percentiles, options.nodata)
    options = options._replace(input_range=limits, input_percentiles=percentiles, nodata=nodata)
    if not np.all(options.image_std):
        raise ValueError(f"image_std must not be zero, got {options.image_std}")
    return options


def _refuse(name: str, value: Any) -> None:
    """Let pass a setting that means nothing; name one that is unknown or cannot be met."""
    if name in _WITHOUT_EFFECT or (name == "data_format" and value == ChannelDimension.FIRST):
        return
    if name not in (*_UNSUPPORTED, "data_format"):
        raise TypeError(f"unknown argument {name!r}; known are {', '.join(PixelOptions._fields)}")
    if value:
        raise ValueError(f"{name}={value!r} is not supported by Sam2ImageProcessor")
