"""Images of any size, read by windows: no more of them is in memory than what is asked for.

What pixel values mean is decided for the image as a whole, by the rules of `inputs.images`: a window has the values
that it has in the image read whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from ..arrays import is_tensor, to_numpy
from ..sizes import Size
from .images import channels_first, pil_to_array, read_images, read_part
from .plain_values import plain_array, plain_tensor

Box = tuple[int, int, int, int]

_PIXELS_AT_ONCE = 2**23  # that are read together on the way to a smaller copy
_READ_AS_THEY_ARE = 2048  # pixels of a window's side, up to which nothing is averaged before a model's own resizing
_KNOWN_WHITE = {"uint8": 255.0, "bool": 255.0, "uint16": 65535.0}


class ImageWindows:
    """An image that is read by windows. Subclasses say how.

    Args:
        name: what an error calls the image.
        sizes: (height, width) of the image, then of smaller copies of it that are stored beside it, if there are any.
        dtype: of its values.
    """

    file_name: str = ""

    def __init__(self, name: str, sizes: Sequence[Size], dtype: Any):
        self.name = name
        self.size: Size = sizes[0]
        self.dtype = np.dtype(dtype)
        self._sizes = list(sizes)

    def _raw(self, level: int, box: Box) -> np.ndarray:
        """Read (channels, height, width) of a stored copy, in the dtype of the file. Level 0 is the image itself."""
        raise NotImplementedError

    @property
    def identity(self) -> str | None:
        """What changes when the image does; None where only its pixels tell."""
        return None

    def read(self, box: Box, size: Size | None = None) -> np.ndarray:
        """Read a window.

        Args:
            box: left, top, right, bottom (exclusive), in pixels of the image.
            size: (height, width) that it is brought to, by averaging; its own by default. Memory is that of the result
                and of a few bands, however large the window.

        Returns:
            (3, height, width) uint8.

        Raises:
            ValueError: the window is empty or not inside the image, or the file is damaged.
        """
        left, top, right, bottom = box
        height, width = self.size
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"box must lie within {self.name} of {width}x{height} pixels, got {box}")
        if size is None or size == (bottom - top, right - left):
            return self._bytes(0, box)
        return self._read_scaled(box, size)

    def preview(self, longest: int) -> np.ndarray:
        """Read the whole image with at most so many pixels along its longer side: (3, height, width) uint8."""
        height, width = self.size
        scale = min(1.0, longest / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return self.read((0, 0, width, height), size)

    def shown_at(self, longest: int) -> Callable[[], np.ndarray]:
        """What reads a `preview`, (height, width, 3), when it is called."""
        return lambda: np.ascontiguousarray(self.preview(longest).transpose(1, 2, 0))

    def _read_scaled(self, box: Box, size: Size) -> np.ndarray:
        rows, columns = size
        level = self._level_for(box, size)
        down, across = (self._sizes[level][axis] / self.size[axis] for axis in (0, 1))
        left, top, right, bottom = box[0] * across, box[1] * down, box[2] * across, box[3] * down
        first_column, last_column = _cover(left, right, self._sizes[level][1])
        step = (bottom - top) / rows
        at_once = max(1, int(_PIXELS_AT_ONCE / (step * (last_column - first_column))))
        scaled = np.empty((3, rows, columns), np.uint8)
        for begin in range(0, rows, at_once):
            end = min(begin + at_once, rows)
            upper, lower = top + begin * step, top + end * step
            first_row, last_row = _cover(upper, lower, self._sizes[level][0])
            band = self._bytes(level, (first_column, first_row, last_column, last_row))
            within = (
                max(left - first_column, 0.0),
                max(upper - first_row, 0.0),
                min(right - first_column, float(band.shape[2])),
                min(lower - first_row, float(band.shape[1])),
            )
            image = Image.fromarray(np.ascontiguousarray(band.transpose(1, 2, 0)))
            resized = image.resize((columns, end - begin), Image.Resampling.BOX, box=within)
            scaled[:, begin:end] = np.asarray(resized).transpose(2, 0, 1)
        return scaled

    def _level_for(self, box: Box, size: Size) -> int:
        """The smallest stored copy in which a window has at least `size`."""
        wanted = max(size[0] / (box[3] - box[1]), size[1] / (box[2] - box[0]))
        fitting = [
            level
            for level, stored in enumerate(self._sizes)
            if min(stored[0] / self.size[0], stored[1] / self.size[1]) >= wanted * (1 - 1e-9)
        ]
        return min(fitting, key=lambda level: self._sizes[level][1], default=0)

    def _bytes(self, level: int, box: Box) -> np.ndarray:
        pixels = plain_array(self._raw(level, box), self.name)
        return np.ascontiguousarray(to_numpy(read_part(pixels, self.white).as_bytes()))

    @cached_property
    def white(self) -> float:
        """The value that means white, see `inputs.images`. Of 32 bits and floating data, all values are looked at.

        Raises:
            TypeError, ValueError: values that no image has.
        """
        if self.dtype.name in _KNOWN_WHITE:
            return _KNOWN_WHITE[self.dtype.name]
        limits = [(part.min(), part.max()) for part in map(self._plain, self._bands())]
        lows, highs = zip(*limits, strict=True)
        extremes = np.array([[np.min(lows), np.max(highs)]])
        return read_images(extremes, as_tensors=False)[0].white

    def _plain(self, box: Box) -> np.ndarray:
        return plain_array(self._raw(0, box), self.name)

    def _bands(self) -> Iterator[Box]:
        height, width = self.size
        rows = max(1, _PIXELS_AT_ONCE // width)
        return ((0, top, width, min(top + rows, height)) for top in range(0, height, rows))


def reading_size(size: Size, tile_size: int) -> Size:
    """Choose the size at which a window is read for a model.

    Args:
        size: (height, width) of the window, in pixels of the image.
        tile_size: side of a tile that is read as it is.

    Returns:
        (height, width): its own up to `tile_size` or 2048 pixels, whichever is more; less for a larger one, of which a
        model sees less anyway.
    """
    scale = min(1.0, max(tile_size, _READ_AS_THEY_ARE) / max(size))
    return math.ceil(size[0] * scale), math.ceil(size[1] * scale)


def _cover(begin: float, end: float, length: int) -> tuple[int, int]:
    """The whole pixels that a stretch touches, at least one."""
    first = min(int(begin + 1e-6), length - 1)
    return first, max(first + 1, min(math.ceil(end - 1e-6), length))


class ArrayWindows(ImageWindows):
    """An array, memory-mapped or in memory, of which only windows are read and converted.

    Args:
        array: (height, width), (height, width, channels) or (channels, height, width), an array or a tensor.
        name: what an error calls it.
        data_format: where the channels are; told by the shape by default, as `read_images` does.

    Raises:
        TypeError, ValueError: no image has such a shape.
    """

    def __init__(self, array: Any, name: str = "image", data_format: str | None = None):
        likely = "channels_first" if is_tensor(array) else "channels_last"
        if is_tensor(array):
            array = to_numpy(plain_tensor(array, name))
        self._array = channels_first(array, likely, data_format, name)
        if 0 in self._array.shape:
            raise ValueError(f"{name} is empty: expected an image with pixels, got shape {array.shape}")
        super().__init__(name, [(self._array.shape[1], self._array.shape[2])], self._array.dtype)

    def _raw(self, level: int, box: Box) -> np.ndarray:
        left, top, right, bottom = box
        return self._array[:, top:bottom, left:right]


class PillowWindows(ImageWindows):
    """An image of Pillow, which is decoded as a whole when its first window is read.

    Args:
        image: as it stands.
        name: what an error calls it.
    """

    def __init__(self, image: Image.Image, name: str = "image"):
        self._image = image
        self.file_name = getattr(image, "filename", "") or ""
        sample = pil_to_array(Image.new(image.mode, (1, 1)))
        super().__init__(name, [(image.height, image.width)], sample.dtype)

    def _raw(self, level: int, box: Box) -> np.ndarray:
        try:
            part = self._image.crop(box)
        except Exception as error:  # decoders raise errors of many kinds
            raise ValueError(f"{self.name} cannot be read, the file seems to be broken: {error}") from error
        if "transparency" in self._image.info:
            part.info["transparency"] = self._image.info["transparency"]
        return channels_first(pil_to_array(part), "channels_last", "channels_last", self.name)
