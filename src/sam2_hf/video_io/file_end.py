"""Whether a video file ends where its own structure says that it ends.

A download or a recording that broke off is decoded without complaint up to where it stops, and its last frame may be
half of one. GIF, AVI, Matroska and MPEG transport streams tell by their structure; only that is read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .gif_blocks import GIF_IMAGE, gif_blocks

_TS_SIZES = {188: 0, 192: 4}  # length of a transport stream's packets, and where its sync byte stands
_TS_SYNC = 0x47
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


class MissingEnd(NamedTuple):
    """What a file lacks at its end.

    `reason` says it in words and is empty where nothing is missing or nothing tells. With `last_is_partial` the last
    stored frame is not whole either.
    """

    reason: str = ""
    last_is_partial: bool = False


class _Element(NamedTuple):
    """A part of a file: its name, where its content starts, and where it ends by its own account."""

    name: bytes | int
    start: int
    end: int


def find_missing_end(path: Path) -> MissingEnd:
    """Compare where a video file ends with where it should.

    Args:
        path: a file on disk.

    Returns:
        What is missing, as far as the format tells.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(2 * max(_TS_SIZES))
        if head.startswith(b"GIF8"):
            return _gif_end(head + file.read())
        if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
            return _lost_part(_riff_lists(file, size), b"movi", size)
        if int.from_bytes(head[:4], "big") == _EBML:
            return _lost_part(_segment_elements(file, size), _CLUSTER, size)
    for length, offset in _TS_SIZES.items():
        if head[offset::length][:2] == bytes([_TS_SYNC] * 2) and size % length:
            return MissingEnd("the file is cut short within a packet", last_is_partial=True)
    return MissingEnd()


def explain_missing_index(path: Path) -> str:
    """Say what is wrong with an MP4 or MOV that lacks its index, without which none of its frames can be found.

    Args:
        path: a file on disk.

    Returns:
        The reason in words; empty for files of other formats, and for those that have their index.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        boxes = list(_mp4_boxes(file, size))
    if not boxes or boxes[0].name not in _MP4_FIRST_BOXES:
        return ""
    index = next((box for box in boxes if box.name == b"moov"), None)
    if index is not None and index.end > size:
        return "its index (the moov box) is cut short"
    if index is None and any(box.name == b"mdat" or box.end > size for box in boxes):
        return "its index (the moov box) is missing, because the recording or download broke off before its end"
    return ""


def _lost_part(elements: Iterator[_Element], name: bytes | int, size: int) -> MissingEnd:
    """Whether one of the elements that hold frames goes on after the end of the file. An index at the end may be cut
    without any frame being lost."""
    for element in elements:
        if element.name == name and element.end > size:
            return MissingEnd(f"the file is cut short: {element.end - size} bytes of its frames are missing")
    return MissingEnd()


def _gif_end(data: bytes) -> MissingEnd:
    for block in gif_blocks(data):
        if not block.is_whole:
            return MissingEnd("the file is cut short within a frame", last_is_partial=block.kind == GIF_IMAGE)
    return MissingEnd()


def _riff_lists(file: BinaryIO, size: int) -> Iterator[_Element]:
    """The lists of an AVI by their types. A list of unknown length, as a killed recorder leaves it, ends it."""
    position = 12
    while position + 12 <= size:
        file.seek(position)
        chunk, length, kind = file.read(4), int.from_bytes(file.read(4), "little"), file.read(4)
        if length in (0, 0xFFFFFFFF):
            return
        end = position + 8 + length
        if chunk == b"LIST":
            yield _Element(kind, position + 12, end)
        position = end + end % 2


def _segment_elements(file: BinaryIO, size: int) -> Iterator[_Element]:
    """The elements inside a Matroska file's segment. One of unknown length, as in a live recording, ends them."""
    position = 0
    while position < size:
        element = _ebml_element(file, position)
        if element is None:
            return
        if element.name == _SEGMENT:
            position = element.start
        else:
            yield element
            position = element.end


def _ebml_element(file: BinaryIO, position: int) -> _Element | None:
    """The element that starts at a position; None where there is none or its length is unknown."""
    file.seek(position)
    head = file.read(12)
    id_length = 9 - head[0].bit_length() if head else 9
    if id_length > 4 or len(head) <= id_length:
        return None
    length_bytes = 9 - head[id_length].bit_length()
    start = id_length + length_bytes
    if length_bytes > 8 or len(head) < start:
        return None
    name = int.from_bytes(head[:id_length], "big")
    largest = 2 ** (7 * length_bytes) - 1
    length = int.from_bytes(head[id_length:start], "big") & largest
    if length == largest and name != _SEGMENT:
        return None
    return _Element(name, position + start, position + start + length)


def _mp4_boxes(file: BinaryIO, size: int) -> Iterator[_Element]:
    """The outermost boxes of an MP4 or MOV."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length, name = int.from_bytes(file.read(4), "big"), file.read(4)
        start = position + 8
        if length == 1:  # a box of more than 4 GiB
            length, start = int.from_bytes(file.read(8), "big"), position + 16
        end = size if length == 0 else position + length  # 0: up to the end of the file
        if end < start:
            return
        yield _Element(name, start, end)
        position = end
