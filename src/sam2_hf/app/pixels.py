"""What is sent to the page: images and masks as data addresses, no larger than a screen."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..masks.drawing import Colour
from ..results.overlay import shrunk

LONGEST_SIDE = 1600
"""In pixels. Images and masks are reduced to it for the page; files that are downloaded have the image's own size."""

_FILL, _CONTOUR = 115, 255  # opacity, 0 to 255
_MOST_COLOURS = 127  # of a palette of 256 with two entries each


def display_size(size: tuple[int, int]) -> tuple[int, int]:
    """Reduce (height, width) to what the page shows."""
    scale = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def image_address(pixels: np.ndarray, size: tuple[int, int]) -> str:
    """Write an image, uint8 (height, width, 3), as a JPEG of the given (height, width)."""
    image = Image.fromarray(pixels)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return _address("jpeg", content)


def masks_address(masks: Sequence[np.ndarray], colours: Sequence[Colour]) -> str:
    """Write masks as one PNG, transparent where none is, with a contour around each.

    Args:
        masks: bool (height, width), all of one size, at least one. Later ones lie on top.
        colours: of each. From 128 masks on they come round again.
    """
    labels = np.zeros(masks[0].shape, np.uint8)
    width = max(1, round(min(labels.shape) / 300))
    for index, mask in enumerate(masks):
        entry = 1 + 2 * (index % _MOST_COLOURS)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = mask[window]
        labels[window][inside] = entry
        labels[window][inside & ~shrunk(inside, width)] = entry + 1
    used = colours[:_MOST_COLOURS]
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, *(value for colour in used for value in (*colour, *colour))])
    content = io.BytesIO()
    opacity = bytes([0, *(value for _ in used for value in (_FILL, _CONTOUR))])
    image.save(content, "PNG", transparency=opacity, bits=2 if len(used) == 1 else 8, compress_level=1)
    return _address("png", content)


def reduced(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Reduce a mask to (height, width) by taking the nearest pixels."""
    if mask.shape == size:
        return mask
    rows = (np.arange(size[0]) * mask.shape[0] + mask.shape[0] // 2) // size[0]
    columns = (np.arange(size[1]) * mask.shape[1] + mask.shape[1] // 2) // size[1]
    return mask[np.ix_(rows, columns)]


def read_frame(address: str, longest_side: int = LONGEST_SIDE) -> np.ndarray:
    """Read a frame that the page sends, a JPEG as a data address.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: it is none, or too large.
    """
    head, _, content = address.partition(",")
    if head != "data:image/jpeg;base64" or len(content) > 4_000_000:
        raise ValueError("a frame must be a JPEG of at most 3 MB, as a data address")
    try:
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True)), formats=["JPEG"]) as image:
            if max(image.size) > longest_side:
                raise ValueError(f"a frame may have {longest_side} pixels a side, got {image.size}")
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the frame cannot be read: {error}") from error


def _address(kind: str, content: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content.getbuffer()).decode()}"
