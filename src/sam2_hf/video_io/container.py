"""Opening a video with PyAV: its stream, its first frame, and decoded frames as upright RGB tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .orientation import Orientation, orientation_of
from .pyav import describe_error, import_av

if TYPE_CHECKING:
    from .pyav import InputContainer, VideoFrame, VideoStream

OpenClip = Callable[[], "InputContainer"]


@dataclass(frozen=True)
class ClipInfo:
    """What opening a file and decoding its first frame tells.

    `size` is the stored (height, width), before `orientation`. `first_time` is in ticks. `reorder_depth` is how many
    frames the decoder holds back because they are shown later than they are stored. `indexed_frames` is the number of
    frames where the container lists every one of them, as MP4 does.
    """

    name: str
    format: str
    size: tuple[int, int]
    orientation: Orientation
    fps: float | None
    first_time: int | None
    reorder_depth: int
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
    """Open what PyAV can open.

    Args:
        location: path, address or device.
        name: what errors call it.
        format: name of the FFmpeg format or device, where it cannot be told from the file.
        options: FFmpeg's options for opening.
        timeout: seconds to wait for an answer; None waits for ever.

    Returns:
        The open container.

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
    """Find the first video stream. The cover image of a music file does not count.

    Raises:
        ValueError: the file has no video in it.
    """
    for stream in container.streams.video:
        if not _is_cover(stream):
            return stream
    kinds = sorted({"a cover image" if _is_cover(stream) else stream.type for stream in container.streams})
    raise ValueError(f"{name} has no video in it, only: {', '.join(kinds) or 'nothing'}")


def probe(open_clip: OpenClip, name: str) -> tuple[ClipInfo, VideoFrame]:
    """Open a file and decode its first frame, which alone tells size and rotation for certain.

    Args:
        open_clip: opens the file.
        name: what errors call it.

    Returns:
        What is known of the file, and its first frame.

    Raises:
        ValueError: not a video, or none of its frames can be decoded.
    """
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
            reorder_depth=int(stream.codec_context.has_b_frames),
            frame_bytes=sum(plane.buffer_size for plane in frame.planes),
            indexed_frames=_indexed_frames(container, stream, frame.pts),
        )
        return info, frame


def decode_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode all frames of a file in the order in which they are shown, up to the first error.

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
    """Tell the average frames a second; None where the stream does not say."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def shown_index_entries(container: InputContainer, stream: VideoStream) -> int | None:
    """Count the frames that the index of an MP4 lists, without those that an edit list hides.

    Returns:
        The count; None for other formats, whose indices list key frames alone.
    """
    if "mp4" not in container.format.name:
        return None
    return sum(not entry.is_discard for entry in stream.index_entries)


class FrameConverter:
    """Turns decoded frames into tensors: uint8 (3, height, width), RGB, upright.

    Frames that differ in size from the first, as in a recording that changed its resolution, are scaled to it.
    Holds the state of one conversion, so each thread has its own. It runs on the calling thread alone: threads of
    FFmpeg's scaler are not there in a forked process, which would wait for them for ever.
    """

    def __init__(self, size: tuple[int, int], orientation: Orientation):
        self.size = size
        self._orientation = orientation
        self._reformatter = import_av().video.reformatter.VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        height, width = self.size
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        return self._orientation.upright(rgb.to_ndarray().transpose(2, 0, 1))


def _is_cover(stream: Any) -> bool:
    return stream.type == "video" and bool(stream.disposition & type(stream.disposition).attached_pic)


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
