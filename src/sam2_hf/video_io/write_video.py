"""Writing frames to a video file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import to_numpy
from .frame_reader import FrameReader
from .pyav import import_av
from .source import VideoSource

if TYPE_CHECKING:
    from .pyav import OutputContainer, VideoStream

#: Encoders in order of preference, with options for a quality at which the eye sees no loss.
_ENCODERS = {"libx264": {"crf": "18"}, "libopenh264": {}, "mpeg4": {"qmin": "2", "qmax": "4"}}
_BITS_PER_PIXEL = 0.2  # for encoders that know no constant quality
#: MP4 and MOV are written in fragments of half a second with an index each, and get one index of all in the end; MKV is
#: written in clusters of a second. So what is on the disk is playable at any time, even after the process was killed.
_FRAGMENTED = {"movflags": "+hybrid_fragmented", "frag_duration": "500000", "flush_packets": "1"}
_CONTAINER_OPTIONS = {
    ".mp4": _FRAGMENTED,
    ".mov": _FRAGMENTED,
    ".mkv": {"cluster_time_limit": "1000", "flush_packets": "1"},
}
_BT709 = 1  # FFmpeg's number for the colours of high definition, in all three places


def write_video(
    path: str | os.PathLike[str], frames: Iterable[Any], fps: float = 30.0, codec: str | None = None
) -> None:
    """Write frames to a file that any player shows: H.264 (MPEG-4 where PyAV lacks it), YUV 4:2:0.

    If `frames` fails halfway, what came before it is a playable file. MP4, MOV and MKV are playable even after the
    process was killed, but for the last two seconds or so.

    Args:
        path: the file; its suffix (".mp4", ".mkv", ".mov", ".avi") says which container.
        frames: a `VideoSource`, or PIL images, arrays or tensors of one size. Taken one at a time. YUV 4:2:0 needs
            even sides: an odd last row or column is repeated.
        fps: frames a second.
        codec: name of another FFmpeg encoder.

    Raises:
        ValueError: no frames, and then nothing is written; or frames of different sizes.
    """
    av = import_av()
    arrays = _arrays(frames)
    first = next(arrays, None)
    if first is None:
        raise ValueError("frames is empty: expected at least one frame to write")
    name = os.fspath(path)
    options = _CONTAINER_OPTIONS.get(os.path.splitext(name)[1].lower(), {})
    with av.open(name, "w", options=options) as container:
        stream = _add_stream(container, codec, first.shape[:2], fps)
        try:
            _encode(container, stream, first)
            for array in arrays:
                _encode(container, stream, array)
        finally:
            container.mux(stream.encode(None))


def _arrays(frames: Iterable[Any]) -> Iterator[np.ndarray]:
    """Frames as uint8 (height, width, 3) with even sides."""
    reader = FrameReader()
    for index, image in enumerate(frames):
        frame = image if isinstance(frames, VideoSource) else reader.read(index, image)
        array = to_numpy(frame).transpose(1, 2, 0)
        height, width, _ = array.shape
        yield np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _add_stream(container: OutputContainer, codec: str | None, size: tuple[int, int], fps: float) -> VideoStream:
    name = codec or _best_encoder()
    stream: Any = container.add_stream(
        name, rate=Fraction(fps).limit_denominator(65535), options=_ENCODERS.get(name, {})
    )
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.bit_rate = max(1_000_000, int(_BITS_PER_PIXEL * size[0] * size[1] * fps))
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream


def _best_encoder() -> str:
    av = import_av()
    for name in _ENCODERS:
        try:
            av.Codec(name, "w")
        except ValueError:
            continue
        return name
    raise ValueError(f"this PyAV can encode with none of {', '.join(_ENCODERS)}; name another with codec=")


def _encode(container: OutputContainer, stream: VideoStream, array: np.ndarray) -> None:
    frame = import_av().VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
    container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
