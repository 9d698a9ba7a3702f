"""Opening a video with PyAV: its stream, its first frame, and decoded frames as upright RGB tensors.

PyAV is imported here alone, and only when a video is opened.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    try:  # code loaded from the Hub requires every import outside of `try`, and this one is for type checkers alone
        from av import Packet as Packet
        from av import VideoFrame as VideoFrame
        from av.container import InputContainer as InputContainer
        from av.container import OutputContainer as OutputContainer
        from av.video.stream import VideoStream as VideoStream
    except ImportError:
        pass

#: Before it, PyAV converts the colours of high definition as if they were those of standard definition, and does not
#: show the index of an MP4.
_OLDEST_AV = 17
_INSTALL = f"install it with: pip install 'av>={_OLDEST_AV}'"

OpenClip = Callable[[], "InputContainer"]


def import_av() -> ModuleType:
    """PyAV, or an ImportError that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise ImportError(f"reading and writing video files needs PyAV; {_INSTALL}") from error
    if int(av.__version__.split(".")[0]) < _OLDEST_AV:
        raise ImportError(f"reading and writing video files needs a newer PyAV than {av.__version__}; {_INSTALL}")
    return av


class Orientation(NamedTuple):
    """How a stored frame becomes upright: swap rows and columns first, then mirror."""

    swap_axes: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def upright(self, frame: Tensor) -> Tensor:
        """Turn a stored frame (3, rows, columns)."""
        if self.swap_axes:
            frame = frame.transpose(1, 2)
        flipped = [axis for axis, flip in ((1, self.flip_rows), (2, self.flip_columns)) if flip]
        return frame.flip(flipped) if flipped else frame


@dataclass(frozen=True)
class ClipInfo:
    """What opening a file and decoding its first frame tells.

    `size` is the stored (height, width), before `orientation`. `first_time` is in ticks. `indexed_frames` is the
    number of frames where the container lists every one of them, as MP4 does.
    """

    name: str
    format: str
    size: tuple[int, int]
    orientation: Orientation
    fps: float | None
    first_time: int | None
    reorders: bool
    frame_bytes: int
    indexed_frames: int | None


def open_container(
    location: str,
    name: str,
    *,
    format: str | None = None,
    options: dict[str, str] | None = None,
    timeout: float | None = None,
) -> InputContainer:
    """Open what PyAV can open; `name` is what errors call it.

    Raises:
        OSError: not found, not permitted, not reachable.
        ValueError: not a video.
    """
    av = import_av()
    try:
        return av.open(location, format=format, options=options or {}, timeout=timeout, metadata_errors="ignore")
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{name} is not a video that can be read: {describe_error(error)}") from error


def pick_stream(container: InputContainer, name: str) -> VideoStream:
    """Return the first video stream. The cover image of a music file does not count."""
    for stream in container.streams.video:
        if not _is_cover(stream):
            return stream
    kinds = sorted({"a cover image" if _is_cover(stream) else stream.type for stream in container.streams})
    raise ValueError(f"{name} has no video in it, only: {', '.join(kinds) or 'nothing'}")


def _is_cover(stream: Any) -> bool:
    return stream.type == "video" and bool(stream.disposition & type(stream.disposition).attached_pic)


def probe(open_clip: OpenClip, name: str) -> tuple[ClipInfo, VideoFrame]:
    """Open a file and decode its first frame, which alone tells size and rotation for certain."""
    with open_clip() as container:
        stream = pick_stream(container, name)
        frame = _first_frame(container, stream, name)
        info = ClipInfo(
            name=name,
            format=container.format.name,
            size=(frame.height, frame.width),
            orientation=orientation_of(frame),
            fps=frame_rate(stream),
            first_time=frame.pts,
            reorders=bool(stream.codec_context.has_b_frames),
            frame_bytes=sum(plane.buffer_size for plane in frame.planes),
            indexed_frames=_indexed_frames(container, stream, frame.pts),
        )
        return info, frame


def decode_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames of a file in the order in which they are shown, up to the first error.

    What cannot be decoded at the very start is passed over: a recording may begin between two key frames.
    """
    error_types = import_av().error
    started, failure = False, None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except error_types.EOFError:
            return
        except error_types.FFmpegError as error:
            if started:
                raise
            failure = error
            continue
        started = started or bool(frames)
        yield from frames
    if failure is not None and not started:
        raise failure


def frame_rate(stream: VideoStream) -> float | None:
    """Frames a second, on average."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def shown_index_entries(container: InputContainer, stream: VideoStream) -> int | None:
    """Frames that the index of an MP4 lists, without those that an edit list hides. None for other formats, whose
    indices list key frames alone."""
    if "mp4" not in container.format.name:
        return None
    return sum(not entry.is_discard for entry in stream.index_entries)


def orientation_of(frame: VideoFrame) -> Orientation:
    """How to turn a frame upright by its display matrix, to the nearest quarter turn."""
    entries: Any = frame.side_data  # PyAV's stubs have it as a mapping; it iterates over its values
    for data in entries:
        if data.type.name == "DISPLAYMATRIX":
            # Row by row (a, b, u, c, d, v, x, y, w): stored (x, y) is shown at (a x + c y, b x + d y), y downward.
            a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
            swap = abs(b) > abs(a)
            return Orientation(swap, flip_rows=(b if swap else d) < 0, flip_columns=(c if swap else a) < 0)
    return Orientation()


def describe_error(error: Exception) -> str:
    """What FFmpeg says, without its error number."""
    return getattr(error, "strerror", None) or str(error)


class FrameConverter:
    """Turns decoded frames into tensors: uint8 (3, height, width), RGB, upright.

    Frames that differ in size from the first, as in a recording that changed its resolution, are scaled to it.
    Holds the state of one conversion, so each thread has its own.
    """

    def __init__(self, size: tuple[int, int], orientation: Orientation):
        self._height, self._width = size
        self._orientation = orientation
        self._reformatter = import_av().video.reformatter.VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Tensor:
        rgb = self._reformatter.reformat(frame, width=self._width, height=self._height, format="rgb24")
        return self._orientation.upright(torch.from_numpy(rgb.to_ndarray()).permute(2, 0, 1))


def _first_frame(container: InputContainer, stream: VideoStream, name: str) -> VideoFrame:
    try:
        for frame in decode_frames(container, stream):
            return frame
    except import_av().FFmpegError as error:
        raise ValueError(f"{name} cannot be decoded: {describe_error(error)}") from error
    raise ValueError(f"{name} has no frame that can be decoded")


def _indexed_frames(container: InputContainer, stream: VideoStream, first_time: int | None) -> int | None:
    """The frame count of a plain MP4, where no packet has to be read to know it. A fragmented one may list its frames
    only in passing, and a first frame that is missing shifts all numbers: both are scanned instead."""
    if stream.frames == 0 or first_time != stream.start_time:
        return None
    return shown_index_entries(container, stream)
