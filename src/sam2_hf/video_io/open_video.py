"""One way to open any video: a file, a folder, a list, an array, a generator, a camera, an address."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from numbers import Integral
from typing import Any

from ..inputs.value_range import read_value_range
from .frame_reader import FrameReader
from .image_pages import ImagePages
from .image_source import ImageSource
from .open_location import OpenSettings, open_camera, open_location
from .source import FrameUnavailableError, VideoDecodingError, VideoSource
from .stream_source import StreamSource, frames_of, images_of_capture, is_capture, rate_of_capture

__all__ = ["FrameUnavailableError", "VideoDecodingError", "VideoSource", "open_video"]

_PATHS = (str, os.PathLike)
_CHANNEL_COUNTS = (1, 3, 4)


def open_video(
    video: Any,
    *,
    input_data_format: str | None = None,
    channel_order: str | None = None,
    cache_size: int = 8,
    prefetch: int | None = None,
    format: str | None = None,
    options: dict[str, str] | None = None,
    timeout: float | None = 30.0,
    stream: bool | None = None,
    drop_frames: bool = False,
    input_range: Any = None,
    input_percentiles: Any = None,
    nodata: float | None = None,
) -> VideoSource:
    """Open whatever can be taken for a video. Nothing is decoded but the first frame.

    | video | frames |
    |---|---|
    | path of a video file | in any order; decoded on demand with PyAV |
    | path of a folder | its images in natural order: frame2 before frame10 |
    | path of a TIFF stack or an animated WebP | its pages, in any order |
    | list, tuple, or anything with a length and numbers | PIL images, arrays, tensors, paths of images |
    | array or tensor with four axes | its first axis; channels first or last |
    | array or tensor (slices, height, width) | its slices, in grey |
    | decoder of torchcodec or decord | its frames, in any order |
    | generator, iterator, other iterable | a stream: forward only, each once |
    | `cv2.VideoCapture` | a stream; its frames are BGR and are turned into RGB |
    | number of a camera, 0 for the first | a stream |
    | device ("/dev/video0", or a name with `format="avfoundation"`, "dshow") | a stream |
    | address ("rtsp://...", "http://...") | a stream; a recording over HTTP in any order |
    | a `VideoSource` | itself, as it was opened |

    All frames have one size. Where a recording changes its size, its frames are scaled to that of the first one; where
    a stream does, reading it further raises `VideoDecodingError`.

    Args:
        video: one of the above.
        input_data_format: "channels_first" or "channels_last" for arrays of which it cannot be told; by default a
            tensor that could be either is taken as channels first, an array as channels last.
        channel_order: "bgr" for arrays and tensors as OpenCV makes them, "rgb" for others. By default "bgr" for a
            `cv2.VideoCapture` and "rgb" for everything else.
        cache_size: number of decoded frames to keep for asking again.
        prefetch: number of frames to read ahead on a thread; 0 for no thread. By default 4 where frames come from
            files, devices and addresses, and 0 for images in memory and for generators.
        format: name of the FFmpeg format or device, where it cannot be told from the file.
        options: FFmpeg's options for opening, such as {"video_size": "1280x720", "framerate": "30"}.
        timeout: seconds to wait for an address to answer or to send on; None waits for ever.
        stream: True reads a file or recording as a stream, False insists on frames in any order and refuses what
            cannot give them.
        drop_frames: for live sources: when frames come faster than they are taken, keep the newest only. Frames are
            then numbered as they are taken.
        input_range: (black, white) in the images' own values, for scans of 12 bits in 16, signed or floating data: for
            images, arrays, TIFF stacks and streams of these. Between the two, values are brought to 8 bits. By default
            the range that the type of the first image says.
        input_percentiles: the same as percentages of the pixels, such as (2, 98); one window for all frames, found in
            up to 16 of them, in the first one of a stream.
        nodata: the value of pixels that were not measured, with one of the two before; they are black.

    Returns:
        The open source of frames, each uint8 (3, height, width), RGB. It may be used in forked processes too.

    Raises:
        FileNotFoundError and other OSErrors: as for any file.
        ValueError: empty, without images, or not a video; options that the kind of video does not have.
        VideoDecodingError: the first of several images cannot be read.
        TypeError: not a video of any kind.
        ImportError: the video needs PyAV and it is missing.
    """
    if isinstance(video, VideoSource) and (input_range, input_percentiles, nodata) == (None, None, None):
        return video
    settings = OpenSettings(
        input_data_format,
        channel_order,
        cache_size,
        prefetch,
        format,
        options,
        timeout,
        stream,
        drop_frames,
        read_value_range(input_range, input_percentiles, nodata),
    )
    if isinstance(video, _PATHS):
        return open_location(os.fspath(video), settings)
    if isinstance(video, Integral) and not isinstance(video, bool):
        return open_camera(int(video), settings)
    return _open_in_memory(video, settings)


def _open_in_memory(video: Any, settings: OpenSettings) -> VideoSource:
    while _is_batch_of_one(video):
        video = video[0]
    if isinstance(video, VideoSource):
        settings.refuse_window(f"{video.name} is open already: open it with them")
        return video
    name = f"the {type(video).__name__}"
    if isinstance(video, (dict, bytes, io.IOBase)):
        raise _type_error(video)
    if getattr(video, "n_frames", 1) > 1 and hasattr(video, "seek"):  # a PIL image of several pages
        video = ImagePages(video)
    if hasattr(video, "__getitem__") and hasattr(video, "__len__"):
        return _open_sequence(video, name, settings)
    if is_capture(video):
        images = images_of_capture(video, name)
        return _open_iterable(images, name, settings, channel_order="bgr", fps=rate_of_capture(video))
    if isinstance(video, Iterable):
        return _open_iterable(video, name, settings, channel_order="rgb", fps=None)
    raise _type_error(video)


def _open_sequence(video: Any, name: str, settings: OpenSettings) -> ImageSource:
    settings.refuse(name, "format", "options", "drop_frames", live=True)
    _check_axes(video)
    opens_files = isinstance(video, (list, tuple)) and any(isinstance(item, _PATHS) for item in video[:1])
    return ImageSource(
        video,
        name,
        input_data_format=settings.input_data_format,
        channel_order=settings.channel_order or "rgb",
        fps=_rate_of_decoder(video),
        cache_size=settings.cache_size,
        prefetch=settings.read_ahead if opens_files else settings.prefetch or 0,
        value_range=settings.value_range,
    )


def _open_iterable(
    images: Iterable[Any], name: str, settings: OpenSettings, *, channel_order: str, fps: float | None
) -> StreamSource:
    settings.refuse(name, "format", "options", "drop_frames", live=False)
    reader = FrameReader(settings.input_data_format, settings.channel_order or channel_order, settings.value_range)
    return StreamSource(
        frames_of(images, reader),
        name,
        fps=fps,
        cache_size=settings.cache_size,
        prefetch=settings.prefetch or 0,
        frame_reader=reader,
    )


def _is_batch_of_one(video: Any) -> bool:
    if getattr(video, "ndim", 0) == 5:
        return len(video) == 1
    return isinstance(video, (list, tuple)) and len(video) == 1 and _is_video_itself(video[0])


def _is_video_itself(item: Any) -> bool:
    return isinstance(item, (list, tuple, VideoSource)) or getattr(item, "ndim", 0) in (4, 5) or _is_volume(item)


def _is_volume(array: Any) -> bool:
    """Whether an array is a stack of grey slices (slices, height, width), and cannot be one image with channels."""
    if getattr(array, "ndim", 0) != 3:
        return False
    slices, _, last = array.shape
    return slices not in _CHANNEL_COUNTS and last not in _CHANNEL_COUNTS


def _check_axes(video: Any) -> None:
    if getattr(video, "ndim", 4) != 4 and not _is_volume(video):
        raise ValueError(
            f"an array of frames has 4 axes, (frames, height, width, channels) or (frames, channels, height, width), "
            f"or is a stack of grey slices (slices, height, width), got shape {tuple(video.shape)}; put a single image "
            f"into a list, video=[image], and make a list of slices that could be channels, video=list(slices)"
        )


def _rate_of_decoder(video: Any) -> float | None:
    """Frames a second that a decoder of torchcodec or decord tells; None for anything else."""
    rate = getattr(getattr(video, "metadata", None), "average_fps", None)
    if rate is None and callable(getattr(video, "get_avg_fps", None)):
        rate = video.get_avg_fps()
    return float(rate) if rate else None


def _type_error(video: Any) -> TypeError:
    hint = "give the path of the file" if isinstance(video, io.IOBase) else "put a single image into a list: [image]"
    return TypeError(
        "video must be a path, a folder, a list of images, an array with 4 axes, a generator, the number of a camera, "
        f"a device or an address, got {type(video).__name__}; {hint}"
    )
