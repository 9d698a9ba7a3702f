"""Files of images that are read by windows: TIFF by tifffile, all that GDAL knows by rasterio, the rest by Pillow.

Neither tifffile nor rasterio is needed. Without them, and for formats that have no tiles, such as JPEG and PNG, Pillow
decodes the file as a whole, and it takes three or four bytes a pixel.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from .images import channels_first, read_images
from .lru_cache import LruCache
from .windows import ArrayWindows, Box, ImageWindows, PillowWindows

_TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".svs", ".ndpi")
_PILLOW_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm")
_CACHED_BYTES = 2**26  # of decoded tiles or strips of a TIFF
_MOST_CACHED = 256
_UPRIGHT, _BLACK_IS_ZERO, _RGB, _YCBCR, _JPEG_KINDS = 1, 1, 2, 6, (6, 7, 33003, 33004, 33005)
_ORIENTATION, _COLOURS = 274, 262


def open_windows(image: Any, name: str = "image") -> ImageWindows:
    """Open an image of any size, to be read by windows.

    Args:
        image: a file name, a URL, a PIL image, an array (memory-mapped ones stay on the disk), a tensor; or what this
            has opened already.
        name: what an error calls it.

    Raises:
        TypeError, ValueError: it cannot be read; naming it.
    """
    if isinstance(image, ImageWindows):
        return image
    if isinstance(image, Image.Image):
        return PillowWindows(image, name)
    if isinstance(image, np.ndarray) or hasattr(image, "detach"):
        return ArrayWindows(image, name)
    if isinstance(image, (str, os.PathLike)) and os.path.isfile(image):
        return _open_file(os.fspath(image), name)
    loaded = read_images(image, as_tensors=False)
    if len(loaded) != 1:
        raise ValueError(f"{name} must be a single image, got a batch of {len(loaded)}")
    return ArrayWindows(loaded[0].as_bytes(), name, "channels_first")


def _open_file(path: str, name: str) -> ImageWindows:
    lower = path.lower()
    if lower.endswith(_TIFF_SUFFIXES) and _is_installed("tifffile"):
        opened = _open_tiff(path, name)
        if opened is not None:
            return opened
    if not lower.endswith(_PILLOW_SUFFIXES) and _is_installed("rasterio") and not _is_for_pillow(path):
        try:
            return RasterWindows(path, name)
        except Exception:  # GDAL does not know it: errors of many kinds
            pass
    return _open_with_pillow(path, name)


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _open_with_pillow(path: str, name: str) -> ImageWindows:
    try:
        image: Image.Image = Image.open(path)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} {path!r} is too large to be read whole: install tifffile or rasterio, which read tiled files by "
            f"windows, or set PIL.Image.MAX_IMAGE_PIXELS ({error})"
        ) from error
    except Exception as error:  # of Pillow and its decoders, of many kinds
        raise ValueError(f"{name} must be a readable image file, got {path!r}: {error or type(error)}") from error
    opened = PillowWindows(image, name)
    opened.file_name = path
    return opened


class _FileWindows(ImageWindows):
    """A file that is opened again in every process that reads it. One thread reads at a time."""

    def __init__(self, path: str, name: str, sizes: list[tuple[int, int]], dtype: Any):
        self.file_name = path
        self._lock = threading.Lock()
        super().__init__(name, sizes, dtype)

    @property
    def identity(self) -> str | None:
        """The path, the length and the time of the last change of the file."""
        found = os.stat(self.file_name)
        return f"{os.path.abspath(self.file_name)}|{found.st_size}|{found.st_mtime_ns}"

    def _raw(self, level: int, box: Box) -> np.ndarray:
        with self._lock:
            try:
                return self._read_file(level, box)
            except Exception as error:  # damaged files, in the words of their decoders
                raise ValueError(f"{self.name} cannot be read, {self.file_name!r} seems broken: {error}") from error

    def _read_file(self, level: int, box: Box) -> np.ndarray:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_handles", "_segments")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        raise NotImplementedError


class TiffWindows(_FileWindows):
    """A TIFF by tifffile: of tiles and strips, only those that a window touches are decoded.

    Args:
        path: of the file.
        name: what an error calls it.

    Raises:
        ValueError: it is of a kind whose tiles are not read here, or damaged.
    """

    def __init__(self, path: str, name: str = "image"):
        self.file_name = path
        self._open()
        page = self._handles[0]
        sizes = [(int(one.imagelength), int(one.imagewidth)) for one in self._handles]
        super().__init__(path=path, name=name, sizes=sizes, dtype=page.dtype)

    def _open(self) -> None:
        import tifffile

        file = tifffile.TiffFile(self.file_name)
        pages = [level.keyframe for level in file.series[0].levels]
        if not _is_plain(pages[0]):
            file.close()
            raise ValueError("its axes, colours or orientation are not read by tiles")
        same = [page for page in pages if _is_plain(page) and page.dtype == pages[0].dtype]
        self._handles = [page for page in same if page.samplesperpixel == pages[0].samplesperpixel]
        segment = max(1, int(np.prod(pages[0].chunks)) * np.dtype(pages[0].dtype).itemsize)
        self._segments: LruCache[tuple[int, int], np.ndarray] = LruCache(
            min(_MOST_CACHED, max(1, _CACHED_BYTES // segment))
        )

    def _read_file(self, level: int, box: Box) -> np.ndarray:
        page = self._handles[level]
        left, top, right, bottom = box
        rows, columns = page.chunks[:2]
        part = np.zeros((page.samplesperpixel, bottom - top, right - left), page.dtype)
        for row in range(top // rows, -(-bottom // rows)):
            for column in range(left // columns, -(-right // columns)):
                segment = self._segment(level, row, column)
                y, x = row * rows, column * columns
                y0, x0 = max(y, top), max(x, left)
                y1, x1 = min(y + segment.shape[0], bottom), min(x + segment.shape[1], right)
                part[:, y0 - top : y1 - top, x0 - left : x1 - left] = segment[
                    y0 - y : y1 - y, x0 - x : x1 - x
                ].transpose(2, 0, 1)
        return part

    def _segment(self, level: int, row: int, column: int) -> np.ndarray:
        """A decoded tile or strip, (height, width, samples)."""
        page = self._handles[level]
        index = row * page.chunked[1] + column
        found = self._segments.get((level, index))
        if found is None:
            handle = page.parent.filehandle
            handle.seek(page.dataoffsets[index])
            content = handle.read(page.databytecounts[index]) if page.databytecounts[index] else None
            decoded, _, shape = page.decode(
                content, index, jpegtables=page.jpegtables, jpegheader=getattr(page, "jpegheader", None)
            )
            if decoded is None:  # nothing is stored where nothing was measured
                decoded = np.full((1, *shape[1:3], page.samplesperpixel), page.nodata, page.dtype)
            found = decoded[0]
            self._segments.put((level, index), found)
        return found


def _open_tiff(path: str, name: str) -> TiffWindows | None:
    try:
        return TiffWindows(path, name)
    except Exception:  # a kind that is left to others, or a damaged file, which they will name
        return None


def _is_for_pillow(path: str) -> bool:
    """Whether a file is a TIFF that is not upright, or of other colours than grey and RGB: GDAL leaves it as it is."""
    try:
        with TiffImageFile(path) as image:
            tags = dict(image.tag_v2)
    except (OSError, SyntaxError, ValueError):
        return False
    return tags.get(_ORIENTATION, _UPRIGHT) != _UPRIGHT or tags.get(_COLOURS) not in (_BLACK_IS_ZERO, _RGB, _YCBCR)


def _is_plain(page: Any) -> bool:
    """Whether a page is upright, with one, three or four samples of a pixel side by side, black as zero."""
    orientation = page.tags.get(_ORIENTATION)
    colours = int(page.photometric)
    return (
        page.axes in ("YX", "YXS")
        and page.samplesperpixel in (1, 3, 4)
        and (orientation is None or int(orientation.value) == _UPRIGHT)
        and (colours in (_BLACK_IS_ZERO, _RGB) or (colours == _YCBCR and int(page.compression) in _JPEG_KINDS))
        and page.dtype is not None
        and int(page.bitspersample) == page.dtype.itemsize * 8
    )


class RasterWindows(_FileWindows):
    """A raster by rasterio, with its overviews.

    Args:
        path: of the file.
        name: what an error calls it.

    Raises:
        rasterio.errors.RasterioIOError: GDAL does not know the file.
        ValueError: it has not one, three or four bands.
    """

    def __init__(self, path: str, name: str = "image"):
        self.file_name = path
        self._open()
        first = self._handles[0]
        if first.count not in (1, 3, 4):
            raise ValueError(f"{name} must have 1, 3 or 4 bands, got {first.count}")
        sizes = [(int(one.height), int(one.width)) for one in self._handles]
        super().__init__(path=path, name=name, sizes=sizes, dtype=first.dtypes[0])

    def _open(self) -> None:
        import rasterio

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            first = rasterio.open(self.file_name)
            levels = range(len(first.overviews(1)))
            self._handles = [first, *(rasterio.open(self.file_name, overview_level=level) for level in levels)]

    def _read_file(self, level: int, box: Box) -> np.ndarray:
        left, top, right, bottom = box
        pixels: np.ndarray = self._handles[level].read(window=((top, bottom), (left, right)))
        return channels_first(pixels, "channels_first", "channels_first", self.name)
