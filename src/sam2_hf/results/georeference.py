"""Where a raster lies on the earth: what a GeoTIFF says of it, read with Pillow.

The tags are those of the OGC GeoTIFF standard (19-008r4).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL.TiffImagePlugin import TiffImageFile

#: (a, b, c, d, e, f) takes (x, y) in pixels to (a x + b y + c, d x + e y + f), as rasterio's `Affine` has it.
Affine = tuple[float, float, float, float, float, float]
PIXELS: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

_PIXEL_SCALE, _TIEPOINT, _TRANSFORMATION, _KEYS = 33550, 33922, 34264, 34735
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072
_PIXEL_IS_POINT, _USER_DEFINED = 2, 32767
_SUFFIXES = (".tif", ".tiff")


class GeoReference(NamedTuple):
    """Coordinates of a raster.

    Attributes:
        transform: from pixels to coordinates.
        epsg: number of the coordinate reference system; None where it is not known.
    """

    transform: Affine = PIXELS
    epsg: int | None = None


def read_georeference(path: str | os.PathLike[str]) -> GeoReference | None:
    """Read where the raster in a file lies.

    Args:
        path: of an image.

    Returns:
        Its transform and its coordinate reference system; None for a file that is no GeoTIFF.
    """
    if not os.fspath(path).lower().endswith(_SUFFIXES) or not os.path.isfile(path):
        return None
    try:
        with TiffImageFile(path) as image:  # `Image.open` refuses large rasters, of which only the head is read here
            tags = dict(image.tag_v2)
    except (OSError, SyntaxError, ValueError):
        return None
    transform = _read_transform(tags)
    if transform is None:
        return None
    keys = _read_keys(tags.get(_KEYS, ()))
    if keys.get(_RASTER_TYPE) == _PIXEL_IS_POINT:  # coordinates are those of the middles of pixels
        a, b, c, d, e, f = transform
        transform = (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)
    codes = [keys.get(name) for name in (_PROJECTED, _GEOGRAPHIC)]
    known = [code for code in codes if code is not None and 0 < code < _USER_DEFINED]
    return GeoReference(transform, known[0] if known else None)


def _read_transform(tags: Mapping[int, Any]) -> Affine | None:
    if len(matrix := tags.get(_TRANSFORMATION, ())) == 16:
        a, b, c, d, e, f = (float(matrix[index]) for index in (0, 1, 3, 4, 5, 7))
        return a, b, c, d, e, f
    scale, tie = tags.get(_PIXEL_SCALE, ()), tags.get(_TIEPOINT, ())
    if len(scale) < 2 or len(tie) < 6:
        return None
    across, down = float(scale[0]), float(scale[1])
    column, row, _, x, y, _ = map(float, tie[:6])
    return across, 0.0, x - column * across, 0.0, -down, y + row * down


def _read_keys(directory: Sequence[int]) -> dict[int, int]:
    """The keys whose values stand in the directory itself."""
    entries = [directory[start : start + 4] for start in range(4, len(directory), 4)]
    return {key: value for key, location, count, value in entries if location == 0 and count == 1}
