"""A video whose frames are images one by one: a folder, a list, an array of all frames."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from PIL import Image

from ..arrays import Array
from ..inputs.natural_order import natural_order
from ..inputs.value_range import ValueRange
from .frame_reader import FrameReader, IndexedImages
from .image_pages import ImagePages
from .source import VideoSource

IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


class ImageSource(VideoSource):
    """Frames that each are an image already: in a folder, in a list, in one array, on the pages of a file.

    Nothing is read before it is needed, and no more than the cache is kept.

    Args:
        images: anything with a length and numbers.
        name: what errors call it.
        input_data_format: "channels_first" or "channels_last" for arrays of which it cannot be told.
        channel_order: "rgb" or "bgr" for arrays and tensors.
        fps: frames a second, where it is known.
        cache_size: number of frames to keep.
        prefetch: number of frames to read ahead; 0 for no thread.
        value_range: which values are black and white, instead of the range that their type says.

    Raises:
        ValueError: no images.
        VideoDecodingError: the first one cannot be read.
    """

    def __init__(
        self,
        images: IndexedImages,
        name: str,
        *,
        input_data_format: str | None = None,
        channel_order: str = "rgb",
        fps: float | None = None,
        cache_size: int = 8,
        prefetch: int = 0,
        value_range: ValueRange = ValueRange(),  # noqa: B008  # it cannot change
    ):
        super().__init__(name, cache_size=cache_size, prefetch=prefetch)
        if len(images) == 0:
            raise ValueError(f"{name} holds no frames")
        self._images = list(images) if isinstance(images, (list, tuple)) else images
        self._count = len(images)
        self._images_lock = threading.Lock()
        self._fps = fps
        self._reader = FrameReader(input_data_format, channel_order, value_range)
        self._reader.settle_scale(images)
        first = self._load(0)
        self._cache.put(0, first)
        self._size = (first.shape[1], first.shape[2])
        if isinstance(self._images, list):
            self._check_shapes(self._images)

    @property
    def value_range(self) -> ValueRange:
        """Which values are black and white, with limits also where percentiles were given."""
        return self._reader.value_range

    @property
    def num_frames(self) -> int:
        """Number of images."""
        return self._count

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first image, which all others share."""
        return self._size

    @property
    def fps(self) -> float | None:
        """Frames a second, where the sequence of images knows it."""
        return self._fps

    def after_fork(self) -> None:
        """Take locks of this process; called in a forked child."""
        super().after_fork()
        self._images_lock = threading.Lock()
        self._reader.after_fork()

    def _release(self) -> None:
        if isinstance(self._images, ImagePages):
            self._images.close()

    def _load(self, index: int) -> Array:
        with self._images_lock:  # what a sequence does to give an item may not be safe to do twice at once
            image = self._images[index]
        return self._reader.read(index, image)

    def _read(self, indices: range) -> Generator[Array, None, None]:
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
    """List the images of a folder in natural order: frame2 comes before frame10. Other files are passed over.

    A link to a file that does not exist counts as a frame that cannot be read, so that those after it keep their
    numbers.

    Raises:
        ValueError: no image in it, or two that differ in their suffix alone, such as a frame and its mask.
    """
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    named_as_images = (path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
    images = [path for path in named_as_images if path.is_file() or (path.is_symlink() and not path.exists())]
    if not images:
        others = sorted({path.suffix or path.name for path in files})[:5]
        found = f"only {', '.join(others)}" if others else "nothing"
        raise ValueError(f"the folder '{folder}' holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): {found}")
    stems: dict[str, Path] = {}
    for path in images:
        twin = stems.setdefault(path.stem, path)
        if twin is not path:
            raise ValueError(f"'{folder}' has two images for one frame: {twin.name} and {path.name}")
    return natural_order(images, lambda path: path.name)
