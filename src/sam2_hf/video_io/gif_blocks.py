"""The blocks of a GIF: its images, and the extensions that say for how long each is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

GIF_SIGNATURE = b"GIF8"
GIF_EXTENSION, GIF_IMAGE = 0x21, 0x2C
_CONTROL = 0xF9  # label of the extension that holds the time of the image behind it


class GifBlock(NamedTuple):
    """A block.

    Attributes:
        kind: `GIF_EXTENSION` or `GIF_IMAGE`.
        label: of an extension; 0 of an image.
        is_whole: whether the file goes on to its end.
    """

    kind: int
    label: int
    is_whole: bool


def gif_blocks(data: bytes) -> Iterator[GifBlock]:
    """Read the blocks of a GIF, up to the end mark or to what only a decoder can judge.

    Args:
        data: the content of the file.
    """
    position = 13 + _table_bytes(data[10:11])
    while position < len(data):
        kind = data[position]
        if kind not in (GIF_EXTENSION, GIF_IMAGE):
            break
        label = 0
        if kind == GIF_IMAGE:
            position += 11 + _table_bytes(data[position + 9 : position + 10])
        else:
            label = data[position + 1] if position + 1 < len(data) else 0
            position += 2
        while data[position : position + 1] not in (b"", b"\0"):
            position += 1 + data[position]
        yield GifBlock(kind, label, position < len(data))
        position += 1


def has_untimed_images(data: bytes) -> bool:
    """Whether some images of a GIF come without a time. FFmpeg gives such images as one.

    Args:
        data: the content of the file.
    """
    blocks = list(gif_blocks(data))
    images = sum(block.kind == GIF_IMAGE for block in blocks)
    return images > max(1, sum(block.label == _CONTROL for block in blocks))


def _table_bytes(flags: bytes) -> int:
    """Length of the colour table that a byte of flags announces."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
