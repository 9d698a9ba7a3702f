"""The images of one video as frames of one size and one scale of values."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..arrays import Array, dtype_name, is_floating, is_tensor
from ..inputs.images import LoadedImage, read_images, read_pixels
from ..inputs.value_range import ValueRange
from .source import VideoDecodingError

CHANNEL_ORDERS = ("rgb", "bgr")
_FRAMES_FOR_PERCENTILES = 16


class IndexedImages(Protocol):
    """Anything with a length and numbered images."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class FrameReader:
    """Turns the images of one video into frames: uint8 (3, height, width), all of the first one's size.

    Images are whatever `read_images` takes. What floating values and wide integers mean is settled by the first
    one: a frame that has gone dark must not be taken for one on a smaller scale.

    Args:
        input_data_format: "channels_first" or "channels_last" for arrays of which it cannot be told.
        channel_order: "rgb" or "bgr", for arrays and tensors. Files and PIL images are known to be RGB.
        value_range: which values are black and white, instead of the range that the first image's type says. The limits
            that percentiles mean are settled once, for all frames.
    """

    def __init__(
        self,
        input_data_format: str | None = None,
        channel_order: str = "rgb",
        value_range: ValueRange = ValueRange(),  # noqa: B008  # it cannot change
    ):
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', got {channel_order!r}")
        self._data_format = input_data_format
        self._reverses_channels = channel_order == "bgr"
        self.value_range = value_range
        self._size: tuple[int, int] | None = None
        self._white = {"floating": 0.0, "integer": 0.0}
        self._lock = threading.Lock()

    def settle_scale(self, images: Any) -> None:
        """Take the scale of values from all frames at once, as far as that is cheap.

        The limits of percentiles are those of up to 16 frames, evenly spaced. The scale of wide integers is seen where
        one array holds all frames.

        Raises:
            VideoDecodingError: a frame that tells the percentiles cannot be read.
        """
        if self.value_range.percentiles is not None:
            chosen = np.linspace(0, len(images) - 1, min(len(images), _FRAMES_FOR_PERCENTILES)).round().astype(int)
            self.value_range = self.value_range.settled(self._raw(index, images[index]) for index in chosen.tolist())
        elif self.value_range.is_set:
            return
        elif _is_array(images) and images.ndim > 2 and _is_wide_integer(images):
            self._white["integer"] = 65535.0 if int(images.max()) > 255 else 255.0

    def read(self, index: int, image: Any) -> Array:
        """Read frame `index` from its image.

        Returns:
            uint8 (3, height, width); a tensor where the image is one, else a NumPy array.

        Raises:
            VideoDecodingError: the image is broken, or unlike the first one.
        """
        if self.value_range.percentiles is not None:  # a stream's first frame tells them
            self.value_range = self.value_range.settled([self._raw(index, image)])
        try:
            loaded = self._load(image)
        except (TypeError, ValueError, OSError) as error:
            raise VideoDecodingError(index, _reason(image, error)) from error
        with self._lock:
            if self._size is None:
                self._size = loaded.size
        if loaded.size != self._size:
            is_, was = (f"{height}x{width}" for height, width in (loaded.size, self._size))
            reason = f"it is {is_} (height x width), but the first frame is {was}; resize all frames to one size"
            raise VideoDecodingError(index, reason)
        pixels = self._as_bytes(index, loaded, _is_wide_integer(image))
        if not self._reverses_channels or _is_rgb(image):
            return pixels
        return pixels.flip(0) if is_tensor(pixels) else pixels[::-1].copy()

    def after_fork(self) -> None:
        """Take a lock of this process; called in a forked child."""
        self._lock = threading.Lock()

    def _load(self, image: Any) -> LoadedImage:
        if isinstance(image, Image.Image):
            with self._lock:  # Pillow reads the file behind an image late, and not for two threads at once
                return read_images(image, self._data_format, value_range=self.value_range, as_tensors=False)[0]
        image = _plain(image)
        loaded = read_images(image, self._data_format, value_range=self.value_range, as_tensors=is_tensor(image))
        if len(loaded) != 1:
            raise ValueError(f"expected one image, got {len(loaded)}")
        return loaded[0]

    def _raw(self, index: int, image: Any) -> Array:
        """The values of a frame as they are, (channels, height, width)."""
        try:
            with self._lock:
                return next(pixels for _, pixels in read_pixels(_plain(image), self._data_format, as_tensors=False))
        except (TypeError, ValueError, OSError) as error:
            raise VideoDecodingError(index, _reason(image, error)) from error

    def _as_bytes(self, index: int, image: LoadedImage, is_wide_integer: bool) -> Array:
        if is_wide_integer or (is_floating(image.pixels) and image.white <= 255):
            white = self._settled_white(index, image, "integer" if is_wide_integer else "floating")
        else:
            white = image.white
        return image.as_bytes(white)

    def _settled_white(self, index: int, image: LoadedImage, kind: str) -> float:
        """The value that means white in all frames of a kind."""
        with self._lock:
            white = self._white[kind] = self._white[kind] or image.white
        if image.white > white:
            reason = f"its values go up to {float(image.pixels.max()):g}, those of earlier frames stay within 0 to"
            raise VideoDecodingError(index, f"{reason} {white:g}; use one scale for all frames, or uint8")
        return white


def _plain(image: Any) -> Any:
    """An image, for decord's arrays that of NumPy."""
    return image.asnumpy() if callable(getattr(image, "asnumpy", None)) else image


def _is_array(images: Any) -> bool:
    return isinstance(images, np.ndarray) or is_tensor(images)


def _is_wide_integer(image: Any) -> bool:
    """Whether values are integers of which only the largest tells whether they are 8 or 16 bit."""
    if isinstance(image, Image.Image):
        return image.mode == "I"
    if is_tensor(image):
        fixed = dtype_name(image) in ("uint8", "uint16", "bool")
        return not (fixed or image.is_floating_point() or image.is_complex())
    return isinstance(image, np.ndarray) and image.dtype.kind in "iu" and image.dtype not in (np.uint8, np.uint16)


def _is_rgb(image: Any) -> bool:
    return isinstance(image, (Image.Image, str, os.PathLike))


def _reason(image: Any, error: Exception) -> str:
    """What is wrong with an image, by the name of its file if it has one."""
    if not isinstance(image, (str, os.PathLike)):
        return str(error)
    path = os.fspath(image)
    if os.path.islink(path) and not os.path.exists(path):
        return f"'{path}' is a link to '{os.readlink(path)}', which does not exist"
    return f"'{path}' is not an image that can be read ({error.__cause__ or error})"
