"""Images of every kind as tensors or arrays: reading and normalising. Pure functions on torch or NumPy.

What a pixel value means is decided here, once:

- 8 bit (and bool, where True is white): 0 to 255.
- 16 bit: 0 to 65535, over the full range. Fractions of a grey level are kept. An image with 12 bits of data in it
  comes out dark, with a warning: give a `ValueRange`.
- other integers (PIL mode "I" too): as 8 bit where no value exceeds 255, else as 16 bit.
- floating point: 0 to 1, or 0 to 255 where a value exceeds 1.5 (ringing of a filter may exceed 1 a little).
- an alpha channel is blended over white. Any fourth channel counts as alpha; where it is a band of its own, as in
  satellite images, read with `convert_rgb=False`, which keeps all four.
- with a `ValueRange`, any numbers, by its window.

An image is taken as it stands, but for files and addresses, which are turned upright as their EXIF says: whoever hands
over pixels or a `PIL.Image` has them in front, and masks must lie on what they see.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..arrays import Array, cast, dtype_name, is_floating, is_tensor, like, limits, mix, to_numpy
from ..sizes import Size
from .fetching import fetch_image
from .plain_values import plain_array, plain_tensor
from .value_range import ValueRange

_ADDRESS = ("http://", "https://")
_FIRST, _LAST = "channels_first", "channels_last"
_OVERSHOOT = 1.5  # how far above white a filter may have taken a floating value
_DEEPEST = 16  # lists in lists; a list that contains itself would go on for ever
_SMALL_PART = 16  # values that stay within this fraction of white are probably on another scale
_NEGATIVE_LIMIT = -0.5  # below it an image has been normalised already
_WINDOW_HINT = "For other values say what is black and white: input_range=(black, white), or input_percentiles=(2, 98)"


class LoadedImage(NamedTuple):
    """An image as it was read.

    Attributes:
        pixels: (channels, height, width), uint8 or float32.
        white: the pixel value that means white.
    """

    pixels: Array
    white: float

    def as_bytes(self, white: float | None = None) -> Array:
        """Red, green and blue as (3, height, width) uint8; other numbers of channels stay.

        Args:
            white: the value that means white, instead of the image's own.
        """
        pixels, white = self.pixels, white or self.white
        if is_floating(pixels) or white > 255:
            pixels = cast((pixels * (255 / white)).round().clip(0, 255), "uint8")
        if len(pixels) > 1:
            return pixels
        return pixels.expand(3, -1, -1) if is_tensor(pixels) else np.repeat(pixels, 3, axis=0)

    @property
    def size(self) -> Size:
        height, width = self.pixels.shape[-2:]
        return height, width


def read_images(
    images: Any,
    data_format: str | None = None,
    convert_rgb: bool = True,
    check_range: bool = True,
    device: Any = None,
    value_range: ValueRange | None = None,
    as_tensors: bool = True,
) -> list[LoadedImage]:
    """Read one image, or any nesting or batch of images, in reading order.

    Args:
        images: PIL images, arrays, tensors, file names or URLs; arrays are (height, width), (height, width,
            channels) or (channels, height, width), or a batch of these with an axis more in front.
        data_format: where arrays have their channels. By default the axis of length 3 or 4 (else 1) is taken; where
            both fit, the last axis of an array and the first of a tensor.
        convert_rgb: blend alpha over white and read palettes. Grey images keep their one channel.
        check_range: refuse floating values that are neither 0 to 1 nor 0 to 255. Without it they count as 0 to 1.
        device: where to put the pixels; by default they stay where they are.
        value_range: which values are black and white, instead of the rules of this module.
        as_tensors: give pixels as tensors; else as NumPy arrays.

    Raises:
        TypeError, ValueError: naming the image that cannot be read.
    """
    result = []
    for name, pixels in read_pixels(images, data_format, convert_rgb, as_tensors):
        pixels = pixels if device is None else pixels.to(device)
        if value_range is not None and value_range.is_set:
            if convert_rgb and len(pixels) == 4:
                raise ValueError(
                    f"{name} has 4 channels, of which the last would be alpha: give 3, or do_convert_rgb=False, with "
                    "input_range or input_percentiles"
                )
            result.append(LoadedImage(value_range.apply(pixels, name), 1.0))
            continue
        image = _with_known_white(pixels, name, check_range)
        if check_range:
            _warn_if_dark(image, name)
        result.append(_over_white(image) if convert_rgb and len(pixels) == 4 else image)
    return result


def read_pixels(
    images: Any, data_format: str | None = None, convert_rgb: bool = True, as_tensors: bool = True
) -> Iterator[tuple[str, Array]]:
    """Read images without asking what their values mean.

    Args:
        images: see `read_images`.
        data_format: see `read_images`.
        convert_rgb: read palettes as colours.
        as_tensors: see `read_images`.

    Yields:
        What an error calls the image, and its pixels, (channels, height, width) of the dtype that they came in.

    Raises:
        TypeError, ValueError: naming the image that cannot be read.
    """
    channel_axis = None if data_format is None else _read_axis(data_format)
    for name, item in _flatten(images, "images", ndim=3):
        given_axis = None if isinstance(item, (Image.Image, str, os.PathLike)) else channel_axis
        pixels = channels_first(*_load(item, name, convert_rgb, as_tensors), given_axis, name)
        if 0 in pixels.shape:
            raise ValueError(f"{name} is empty: expected an image with pixels, got shape {tuple(pixels.shape)}")
        yield name, pixels


def read_part(pixels: Array, white: float) -> LoadedImage:
    """Read a part of an image, of which `read_images` has told what its values mean.

    Args:
        pixels: (1, 3 or 4 channels, height, width), of the dtype that they came in.
        white: of the whole image as `LoadedImage` has it.

    Returns:
        What `read_images` gives of these pixels within the whole image.
    """
    if dtype_name(pixels) == "bool":
        pixels = cast(pixels, "uint8") * 255
    elif dtype_name(pixels) != "uint8":
        pixels = cast(pixels, "float32" if is_floating(pixels) or white > 255 else "uint8")
    image = LoadedImage(pixels, white)
    return _over_white(image) if len(pixels) == 4 else image


def read_label_maps(maps: Any, name: str, device: Any = None) -> list[Array]:
    """Read segmentation maps, (height, width) of class or object indices. Palettes are read as indices.

    Args:
        maps: one map, several or nested, as images, arrays, tensors or file names.
        name: what an error calls them.
        device: where to put them; by default they stay where they are.

    Returns:
        Each map, (height, width) int64.

    Raises:
        TypeError, ValueError: naming the map that cannot be read.
    """
    result = []
    for position, item in _flatten(maps, name, ndim=2):
        labels, _ = _load(item, position, convert_rgb=False, as_tensors=True)
        if labels.ndim != 2 or 0 in labels.shape or is_floating(labels):
            raise ValueError(
                f"{position} must be a map of whole numbers (height, width), "
                f"got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        result.append(cast(labels if device is None else labels.to(device), "int64"))
    return result


def write_normalised(
    out: Array, image: LoadedImage, rescale_factor: float | None, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Write ``(grey level * rescale_factor - mean) / std`` of an image.

    One conversion, one multiplication, one addition: the constants are folded beforehand.

    Args:
        out: (channels, height, width) float32, which is filled. A grey image fills every channel.
        image: of the same height and width.
        rescale_factor: None takes the values as they are, 16-bit ones as grey levels.
        mean: of each channel, after rescaling.
        std: the same.
    """
    if rescale_factor is not None:
        gain = 255 / image.white * rescale_factor
    else:
        gain = 255 / image.white if image.white > 255 else 1.0
    out[...] = image.pixels
    scale = [gain / s for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    if any(value != 1 for value in scale):
        out *= like(scale, out).reshape(-1, 1, 1)
    if any(shift):
        out += like(shift, out).reshape(-1, 1, 1)


def _flatten(images: Any, name: str, ndim: int, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every single image of a nesting or of a batched array, with the words that name it in an error."""
    is_batch = (isinstance(images, np.ndarray) or is_tensor(images)) and images.ndim == ndim + 1
    if not is_batch and not isinstance(images, (list, tuple)):
        yield name, images
        return
    if depth == _DEEPEST:
        raise ValueError(f"{name} is nested {depth} deep and more: expected images, or lists of them")
    if len(images) == 0:
        raise ValueError(f"{name} is empty: expected at least one image")
    for index, item in enumerate(images):
        yield from _flatten(item, f"{name}[{index}]", ndim, depth + 1)


def _load(item: Any, name: str, convert_rgb: bool, as_tensors: bool) -> tuple[Array, str]:
    """Any single image as a tensor or an array, and where its channels are if both ends could be meant."""
    if is_tensor(item):
        tensor = plain_tensor(item, name)
        return tensor if as_tensors else to_numpy(tensor), _FIRST
    if isinstance(item, (str, os.PathLike)):
        item = _open(os.fspath(item), name)
    if isinstance(item, Image.Image):
        try:
            item = pil_to_array(item, convert_rgb)
        except Exception as error:  # PIL reads late, and its decoders raise errors of many kinds
            raise ValueError(f"{name} cannot be read, the file seems to be broken: {error}") from error
    elif not hasattr(item, "__array__"):
        hint = "; give nested numbers as an array, numpy.asarray(...)" if isinstance(item, (int, float)) else ""
        raise TypeError(
            f"{name} must be a PIL image, an array, a tensor, a file name or a URL, got {type(item).__name__}{hint}"
        )
    array = plain_array(item, name)
    if not as_tensors:
        return array, _LAST
    import torch

    return torch.from_numpy(array), _LAST


def _open(source: str, name: str) -> Image.Image:
    """A file, upright; an image behind an address, or what transformers makes of a base64 string."""
    try:
        if os.path.isfile(source):
            image: Image.Image = Image.open(source)
            image.load()  # reads the file to its end and closes it
            ImageOps.exif_transpose(image, in_place=True)
            return image
        return fetch_image(source) if source.startswith(_ADDRESS) else _decode(source)
    except Exception as error:  # of Pillow, the operating system or the network, of many kinds
        shown = source if len(source) <= 80 else source[:77] + "..."
        if source.startswith(_ADDRESS):
            raise ValueError(f"{name} cannot be fetched from {shown!r}: {error}") from error
        reason = f": {error or type(error).__name__}" if os.path.isfile(source) else ""
        raise ValueError(f"{name} must be a readable image file, a URL or base64, got {shown!r}{reason}") from error


def _decode(source: str) -> Image.Image:
    from transformers.image_utils import load_image

    return load_image(source)


def pil_to_array(image: Image.Image, convert_rgb: bool = True) -> np.ndarray:
    """Give the numbers of an image as they are, with palettes and rare colour spaces as RGB or RGBA where wanted."""
    mode = image.mode
    if convert_rgb and mode != "1" and mode[0] not in "IF":  # bits, I, I;16 and F: numbers as they are
        transparent = image.info.get("transparency") is not None
        if transparent or mode in ("LA", "La", "PA", "RGBa"):
            image = image.convert("RGBA")
        elif mode not in ("L", "RGB", "RGBA"):
            image = image.convert("RGB")
    return np.asarray(image)


def channels_first(pixels: Array, likely_axis: str, given_axis: str | None, name: str) -> Array:
    """View (height, width), (height, width, channels) or (channels, height, width) as the last of these.

    Args:
        pixels: of any dtype.
        likely_axis: "channels_first" or "channels_last", where both could be meant.
        given_axis: the same, where it is known.
        name: what an error calls the image.

    Raises:
        ValueError: another shape, or not 1, 3 or 4 channels.
    """
    if pixels.ndim == 2:
        return pixels[None]
    axis = given_axis or (_channel_axis(pixels.shape, likely_axis) if pixels.ndim == 3 else None)
    if pixels.ndim == 3 and axis == _LAST:
        pixels = pixels.permute(2, 0, 1) if is_tensor(pixels) else pixels.transpose(2, 0, 1)
    if axis is None or pixels.ndim != 3 or len(pixels) not in (1, 3, 4):
        raise ValueError(
            f"{name} must be (height, width), (height, width, channels) or (channels, height, width) "
            f"with 1, 3 or 4 channels, got shape {tuple(pixels.shape)}"
        )
    return pixels


def _read_axis(data_format: Any) -> str:
    name = str(data_format.value if isinstance(data_format, Enum) else data_format)
    if name not in (_FIRST, _LAST):
        raise ValueError(f"input_data_format must be {_FIRST!r} or {_LAST!r}, got {data_format!r}")
    return name


def _channel_axis(shape: Sequence[int], likely_axis: str) -> str | None:
    """Where 3 or 4 channels are, else where one is; `likely_axis` if both ends fit."""
    ends = {_FIRST: shape[0], _LAST: shape[-1]}
    for counts in ((3, 4), (1,)):
        fits = [axis for axis, length in ends.items() if length in counts]
        if fits:
            return likely_axis if len(fits) == 2 else fits[0]
    return None


def _with_known_white(pixels: Array, name: str, check_range: bool) -> LoadedImage:
    """The rules of this module's head."""
    dtype = dtype_name(pixels)
    if dtype == "uint8":
        return LoadedImage(pixels, 255.0)
    if dtype == "bool":
        return LoadedImage(cast(pixels, "uint8") * 255, 255.0)
    if dtype == "uint16":
        return LoadedImage(cast(pixels, "float32"), 65535.0)
    if is_floating(pixels):
        return _float_image(cast(pixels, "float32"), name, check_range)
    low, high = limits(cast(pixels, "int64"))
    if low < 0 or high > 65535:
        raise ValueError(f"{name} must hold integers from 0 to 255 or 0 to 65535, got {low} to {high}. {_WINDOW_HINT}")
    return LoadedImage(cast(pixels, "uint8"), 255.0) if high <= 255 else LoadedImage(cast(pixels, "float32"), 65535.0)


def _float_image(pixels: Array, name: str, check_range: bool) -> LoadedImage:
    low, high = limits(pixels)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
    if check_range and (low < _NEGATIVE_LIMIT or high > 255 * _OVERSHOOT):
        raise ValueError(
            f"{name} must hold numbers from 0 to 1 or 0 to 255, got {low:g} to {high:g}. An image that is already "
            f"normalised goes in with do_rescale=False and do_normalize=False. {_WINDOW_HINT}"
        )
    return LoadedImage(pixels, 255.0 if check_range and high > _OVERSHOOT else 1.0)


def _warn_if_dark(image: LoadedImage, name: str) -> None:
    """Warn where an image would come out black because its values use but a small part of their type's range."""
    if dtype_name(image.pixels) == "uint8":
        return  # 8 bits leave no doubt: it is dark
    high = float(image.pixels.max())
    if 0 < high < image.white / _SMALL_PART:
        warnings.warn(
            f"{name} holds values up to {high:g} where white is {image.white:g}, so it is almost black. If white is "
            "less, give input_range=(black, white), or input_percentiles=(2, 98)",
            stacklevel=2,
        )


def _over_white(image: LoadedImage) -> LoadedImage:
    """Red, green and blue of an image with an alpha channel, over a white ground."""
    colour, alpha = cast(image.pixels[:3], "float32"), cast(image.pixels[3:], "float32") / image.white
    blended = mix(like(image.white, colour), colour, alpha)
    if dtype_name(image.pixels) == "uint8":
        blended = cast(blended.round(), "uint8")
    return LoadedImage(blended, image.white)
