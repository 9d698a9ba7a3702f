"""How a stored frame becomes upright: by the display matrix that its container or its EXIF data gives."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .pyav import import_av

if TYPE_CHECKING:
    from .pyav import VideoFrame

#: FFmpeg numbers the kinds of side data from 0; it has about half as many.
_SIDE_DATA_KINDS = 64


class Orientation(NamedTuple):
    """How a stored frame becomes upright: swap rows and columns first, then mirror."""

    swap_axes: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def upright(self, frame: np.ndarray) -> np.ndarray:
        """Turn a stored frame.

        Args:
            frame: (3, rows, columns).

        Returns:
            The frame as it is to be shown, (3, height, width).
        """
        if self.swap_axes:
            frame = frame.swapaxes(1, 2)
        flipped = tuple(axis for axis, flip in ((1, self.flip_rows), (2, self.flip_columns)) if flip)
        # A copy: torch takes no reversed axis. Its memory is laid out as it was.
        return np.flip(frame, flipped).copy(order="K") if flipped else frame


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read how to turn a decoded frame upright, to the nearest quarter turn."""
    for data in _side_data(frame):
        if data.type.name == "DISPLAYMATRIX":
            # Row by row (a, b, u, c, d, v, x, y, w): stored (x, y) is shown at (a x + c y, b x + d y), y downward.
            a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
            swap = abs(b) > abs(a)
            return Orientation(swap, flip_rows=(b if swap else d) < 0, flip_columns=(c if swap else a) < 0)
    return Orientation()


def _side_data(frame: VideoFrame) -> Iterable[Any]:
    """The side data of a frame. PyAV refuses all of it where one entry is of a kind that it does not know, as EXIF."""
    entries: Any  # PyAV's stubs have it as a mapping; it iterates over its values
    try:
        entries = frame.side_data
    except ValueError:
        entries = _without_unknown_side_data(frame).side_data
    return entries


def _without_unknown_side_data(frame: VideoFrame) -> VideoFrame:
    av = import_av()
    known = {kind.value for kind in av.sidedata.sidedata.Type}
    graph = av.filter.Graph()
    filters = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)]
    unknown = (number for number in range(_SIDE_DATA_KINDS) if number not in known)
    filters += [graph.add("sidedata", f"mode=delete:type={number}") for number in unknown]
    filters.append(graph.add("buffersink"))
    for earlier, later in pairwise(filters):
        earlier.link_to(later)
    graph.configure()
    graph.push(frame)
    return graph.pull()
