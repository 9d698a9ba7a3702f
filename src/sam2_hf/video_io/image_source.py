"""A video whose frames are images one by one: a folder, a list, an array of all frames."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..inputs.images import Picture, read_pictures
from .source import VideoDecodingError, VideoSource

IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


class FrameReader:
    """Turns the images of one video into frames: uint8 (3, height, width), all of the first one's size.

    Images are whatever `read_pictures` takes. What a floating value means is settled by the first one: a
    frame that has gone dark must not be taken for one on the scale 0 to 1.
    """

    def __init__(self, input_data_format: str | None = None):
        self._data_format = input_data_format
        self._size: tuple[int, int] | None = None
        self._float_white = 0.0
        self._lock = threading.Lock()

    def read(self, index: int, image: Any) -> Tensor:
        """Frame `index` from its image; `VideoDecodingError` where it is broken or unlike the first."""
        try:
            loaded = self._load(image)
        except (TypeError, ValueError, OSError) as error:
            raise VideoDecodingError(index, _reason(image, error)) from error
        with self._lock:
            if self._size is None:
                self._size = loaded.size
        if loaded.size != self._size:
            is_, was = (f"{height}x{width}" for height, width in (loaded.size, self._size))
            raise VideoDecodingError(index, f"it is {is_} (height x width), but the first frame is {was}")
        return self._as_bytes(index, loaded)

    def _load(self, image: Any) -> Picture:
        if isinstance(image, Image.Image):
            with self._lock:  # Pillow reads the file behind an image late, and not for two threads at once
                return read_pictures(image, self._data_format)[0]
        loaded = read_pictures(image, self._data_format)
        if len(loaded) != 1:
            raise ValueError(f"expected one image, got {len(loaded)}")
        return loaded[0]

    def _as_bytes(self, index: int, image: Picture) -> Tensor:
        pixels = image.pixels
        if pixels.is_floating_point():
            pixels = (pixels * (255 / self._white_of(index, image))).round_().clamp_(0, 255).to(torch.uint8)
        return pixels.expand(3, -1, -1) if len(pixels) == 1 else pixels

    def _white_of(self, index: int, image: Picture) -> float:
        if image.white > 255:  # 16 bit leaves no doubt
            return image.white
        with self._lock:
            self._float_white = self._float_white or image.white
        if image.white > self._float_white:
            reason = f"its values go up to {float(image.pixels.max()):g}, those of earlier frames stay within 0 to 1"
            raise VideoDecodingError(index, f"{reason}; use one scale for all frames, or uint8")
        return self._float_white


class ImageSource(VideoSource):
    """Frames that each are an image already: in a folder, in a list, in one array.

    Nothing is read before it is needed, and no more than the cache is kept.
    """

    def __init__(
        self,
        images: Sequence[Any],
        name: str,
        *,
        input_data_format: str | None = None,
        cache_size: int = 8,
        prefetch: int = 0,
    ):
        super().__init__(name, cache_size=cache_size, prefetch=prefetch)
        if len(images) == 0:
            raise ValueError(f"{name} holds no frames")
        self._images = list(images) if isinstance(images, (list, tuple)) else images
        self._count = len(images)
        self._images_lock = threading.Lock()
        self._reader = FrameReader(input_data_format)
        first = self._load(0)
        self._cache.put(0, first)
        self._size = (first.shape[1], first.shape[2])
        if isinstance(self._images, list):
            self._check_shapes(self._images)

    @property
    def num_frames(self) -> int:
        """Number of images."""
        return self._count

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first image, which all others share."""
        return self._size

    def _load(self, index: int) -> Tensor:
        with self._images_lock:  # what a sequence does to give an item may not be safe to do twice at once
            image = self._images[index]
        return self._reader.read(index, image)

    def _read(self, indices: range) -> Generator[Tensor, None, None]:
        for index in indices:
            yield self._load(index)

    def _facts(self) -> list[str]:
        return [f"{self._count} frames", f"{self.width}x{self.height}", *super()._facts()]

    def _check_shapes(self, images: list[Any]) -> None:
        """Read one image of every shape there is, so that an odd one out is refused before tracking starts.

        File names have no shape until they are opened; those are checked as they come up.
        """
        shapes = set()
        for index, image in enumerate(images):
            shape = image.size if isinstance(image, Image.Image) else getattr(image, "shape", None)
            if shape is not None and shape not in shapes:
                self._load(index)
                shapes.add(shape)


def images_in_folder(folder: Path) -> list[Path]:
    """The images of a folder in natural order: frame2 comes before frame10. Other files are passed over.

    Raises:
        ValueError: no image in it, or two that differ in their suffix alone, such as a frame and its mask.
    """
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not images:
        others = sorted({path.suffix or path.name for path in files})[:5]
        found = f"only {', '.join(others)}" if others else "nothing"
        raise ValueError(f"the folder '{folder}' holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): {found}")
    stems: dict[str, Path] = {}
    for path in images:
        twin = stems.setdefault(path.stem, path)
        if twin is not path:
            raise ValueError(f"'{folder}' has two images for one frame: {twin.name} and {path.name}")
    return sorted(images, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names by the numbers in them: runs of digits count as numbers, letters without regard to case."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    # A number sorts before text; the name itself decides between "1" and "01".
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts], name


def _reason(image: Any, error: Exception) -> str:
    """What is wrong with an image, by the name of its file if it has one."""
    if isinstance(image, (str, os.PathLike)):
        return f"'{os.fspath(image)}' is not an image that can be read ({error.__cause__ or error})"
    return str(error)
