"""One way to open any video: a file, a folder, a list, an array, a generator, a camera, an address."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from .container import frame_rate, open_container, pick_stream
from .file_source import FileSource
from .image_source import ImageSource, images_in_folder
from .source import FrameUnavailableError, VideoDecodingError, VideoSource
from .stream_source import StreamSource, frames_of, live_frames

__all__ = ["FrameUnavailableError", "VideoDecodingError", "VideoSource", "open_video"]

#: Frames to read ahead of their use where reading takes time.
_READ_AHEAD = 4

_PATHS = (str, os.PathLike)


class _Access(NamedTuple):
    """How a file, device or address is to be opened; the options of `open_video` that only these have."""

    format: str | None
    options: dict[str, str] | None
    timeout: float | None
    stream: bool | None
    drop_frames: bool


def open_video(
    video: Any,
    *,
    input_data_format: str | None = None,
    cache_size: int = 8,
    prefetch: int | None = None,
    format: str | None = None,
    options: dict[str, str] | None = None,
    timeout: float | None = 30.0,
    stream: bool | None = None,
    drop_frames: bool = False,
) -> VideoSource:
    """Open whatever can be taken for a video. Nothing is decoded but the first frame.

    | video | frames |
    |---|---|
    | path of a video file | in any order; decoded on demand with PyAV |
    | path of a folder | its images in natural order: frame2 before frame10 |
    | list, tuple, or anything with a length and numbers | PIL images, arrays, tensors, paths of images |
    | array or tensor with four axes | its first axis; channels first or last |
    | generator, iterator, other iterable | a stream: forward only, each once |
    | device ("/dev/video0", or a name with `format="avfoundation"`, "dshow") | a stream |
    | address ("rtsp://...", "http://...") | a stream; a recording over HTTP in any order |
    | a `VideoSource` | itself, as it was opened |

    Args:
        input_data_format: "channels_first" or "channels_last" for arrays of which it cannot be told; by default a
            tensor that could be either is taken as channels first, an array as channels last.
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

    Raises:
        FileNotFoundError and other OSErrors: as for any file.
        ValueError: empty, without images, or not a video; options that the kind of video does not have.
        TypeError: not a video of any kind.
        ImportError: the video needs PyAV and it is missing.
    """
    if isinstance(video, VideoSource):
        return video
    access = _Access(format, options, timeout, stream, drop_frames)
    if isinstance(video, _PATHS):
        read_ahead = _READ_AHEAD if prefetch is None else prefetch
        return _open_location(os.fspath(video), access, input_data_format, cache_size, read_ahead)
    return _open_in_memory(video, access, input_data_format, cache_size, prefetch)


def _open_in_memory(
    video: Any, access: _Access, input_data_format: str | None, cache_size: int, prefetch: int | None
) -> VideoSource:
    name = f"the {type(video).__name__}"
    while isinstance(video, (list, tuple)) and len(video) == 1 and _is_video_itself(video[0]):
        video = video[0]  # a batch of one video
    if isinstance(video, VideoSource):
        return video
    if hasattr(video, "__getitem__") and hasattr(video, "__len__") and not isinstance(video, (dict, bytes)):
        _refuse_access(access, name, seekable=True)
        dimensions = getattr(video, "ndim", 4)
        if dimensions != 4:
            raise ValueError(
                f"an array of frames has 4 axes, (frames, height, width, channels) or (frames, channels, height, "
                f"width), got shape {tuple(video.shape)}; put a single image into a list: video=[image]"
            )
        if prefetch is None:
            opens_files = isinstance(video, (list, tuple)) and any(isinstance(v, _PATHS) for v in video[:1])
            prefetch = _READ_AHEAD if opens_files else 0
        return ImageSource(video, name, input_data_format=input_data_format, cache_size=cache_size, prefetch=prefetch)
    if isinstance(video, Iterable) and not isinstance(video, (dict, bytes)):
        _refuse_access(access, name, seekable=False)
        frames = frames_of(video, input_data_format)
        return StreamSource(frames, name, cache_size=cache_size, prefetch=prefetch or 0)
    raise TypeError(
        "video must be a path, a folder, a list of images, an array with 4 axes, a generator, a device or an "
        f"address, got {type(video).__name__}; put a single image into a list: video=[image]"
    )


def _is_video_itself(item: Any) -> bool:
    return isinstance(item, (list, tuple, VideoSource)) or getattr(item, "ndim", 0) == 4


def _open_location(
    location: str, access: _Access, input_data_format: str | None, cache_size: int, prefetch: int
) -> VideoSource:
    if "://" in location and not location.startswith("file://"):
        return _open_address(location, access, cache_size, prefetch)
    if location.startswith("file://"):
        location = url2pathname(urlsplit(location).path)
    path = Path(location).expanduser()
    if path.is_dir():
        _refuse_access(access, f"the folder '{path}'", seekable=True)
        images = images_in_folder(path)
        return ImageSource(
            images, f"'{path}'", input_data_format=input_data_format, cache_size=cache_size, prefetch=prefetch
        )
    if path.is_file():
        return _open_file(path, access, cache_size, prefetch)
    if path.exists():  # a device or a pipe
        if access.format is None and stat.S_ISCHR(path.stat().st_mode):
            access = access._replace(format="v4l2")
        return _open_live(location, f"'{location}'", access, cache_size, prefetch)
    if access.format is not None:  # a device that is no file, under the name that the format has for it
        return _open_live(location, f"'{location}'", access, cache_size, prefetch)
    raise FileNotFoundError(errno.ENOENT, "there is no such video file or folder", location)


def _open_file(path: Path, access: _Access, cache_size: int, prefetch: int) -> VideoSource:
    name = f"'{path}'"
    if path.stat().st_size == 0:
        raise ValueError(f"{name} is an empty file")
    location = f"file:{path}"  # so that no part of the path is taken for a protocol
    if access.stream:
        return _open_live(location, name, access._replace(timeout=None), cache_size, prefetch)
    _refuse_dropping(access, name)
    open_clip = partial(open_container, location, name, format=access.format, options=access.options)
    return FileSource(open_clip, name, cache_size=cache_size, prefetch=prefetch)


def _open_address(address: str, access: _Access, cache_size: int, prefetch: int) -> VideoSource:
    """A recording over HTTP can be read from any position, and knows how long it is; the rest is live."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    name = f"'{urlunsplit((parts.scheme, host, parts.path, '', ''))}'"  # passwords and tokens stay out of messages
    open_clip = partial(
        open_container, address, name, format=access.format, options=access.options, timeout=access.timeout
    )
    recorded = access.stream is False
    if access.stream is None and parts.scheme in ("http", "https"):
        with open_clip() as container:
            recorded = container.duration is not None
    if not recorded:
        return _open_live(address, name, access, cache_size, prefetch)
    _refuse_dropping(access, name)
    return FileSource(open_clip, name, cache_size=cache_size, prefetch=prefetch)


def _open_live(location: str, name: str, access: _Access, cache_size: int, prefetch: int) -> StreamSource:
    if access.stream is False:
        raise ValueError(f"{name} is live: its frames come in their order, so stream=False cannot be met")
    if prefetch == 0:
        raise ValueError(f"{name} is read on a thread of its own: prefetch must be at least 1")
    container = open_container(location, name, format=access.format, options=access.options, timeout=access.timeout)
    video_stream = pick_stream(container, name)
    return StreamSource(
        live_frames(container, video_stream),
        name,
        fps=frame_rate(video_stream),
        cache_size=cache_size,
        prefetch=prefetch,
        drop_frames=access.drop_frames,
    )


def _refuse_access(access: _Access, name: str, seekable: bool) -> None:
    """Refuse options that are for files, devices and addresses, and a wish for the other kind of source."""
    unfit = [option for option in ("format", "options", "drop_frames") if getattr(access, option)]
    if access.stream is seekable:
        unfit.append(f"stream={access.stream}")
    if unfit:
        raise ValueError(f"{name} cannot be opened with {', '.join(unfit)}")


def _refuse_dropping(access: _Access, name: str) -> None:
    if access.drop_frames:
        raise ValueError(f"{name} is not live: drop_frames would lose frames of a recording that can wait")
