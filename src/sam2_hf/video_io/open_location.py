"""Opening what is named by a path, an address or a number: files, folders, devices, cameras."""

from __future__ import annotations

import errno
import os
import stat
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from ..inputs.value_range import ValueRange
from .container import frame_rate, open_container, pick_stream
from .file_end import explain_missing_index, find_missing_end
from .file_source import FileSource
from .image_pages import ImagePages, open_pages
from .image_source import IMAGE_SUFFIXES, ImageSource, images_in_folder
from .source import VideoSource
from .stream_source import StreamSource, live_frames

#: Frames to read ahead of their use where reading takes time.
_READ_AHEAD = 4


class OpenSettings(NamedTuple):
    """The options of `open_video`."""

    input_data_format: str | None
    channel_order: str | None
    cache_size: int
    prefetch: int | None
    format: str | None
    options: dict[str, str] | None
    timeout: float | None
    stream: bool | None
    drop_frames: bool
    value_range: ValueRange

    @property
    def read_ahead(self) -> int:
        """How many frames to read ahead where reading takes time."""
        return _READ_AHEAD if self.prefetch is None else self.prefetch

    def refuse(self, name: str, *options: str, live: bool | None = None) -> None:
        """Refuse options that a kind of video does not have.

        Args:
            name: what the error calls the video.
            options: names of options that it does not have.
            live: the value of `stream` that it cannot meet, if any.

        Raises:
            ValueError: one of them was given.
        """
        unfit = [option for option in options if getattr(self, option)]
        if live is not None and self.stream is live:
            unfit.append(f"stream={self.stream}")
        if unfit:
            raise ValueError(f"{name} cannot be opened with {', '.join(unfit)}")

    def refuse_window(self, reason: str) -> None:
        """Refuse a window of values.

        Raises:
            ValueError: with the reason, if one was given.
        """
        if self.value_range.is_set:
            raise ValueError(f"input_range and input_percentiles cannot be applied to {reason}")


_EIGHT_BITS = "its frames are decoded to 8 bits; give its frames as arrays or as a TIFF stack"


def open_location(location: str, settings: OpenSettings) -> VideoSource:
    """Open a file, a folder, a device or an address.

    Args:
        location: its path or address.
        settings: the options of `open_video`.

    Returns:
        The open source.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: no video; options that it does not have.
    """
    if not location.strip():
        raise ValueError(f"video must be the path of a file or folder, a device or an address, got {location!r}")
    if "://" in location and not location.startswith("file://"):
        return _open_address(location, settings)
    if location.startswith("file://"):
        location = url2pathname(urlsplit(location).path)
    path = Path(location).expanduser()
    if path.is_dir():
        return _open_folder(path, settings)
    if path.is_file():
        return _open_file(path, settings)
    if path.exists():  # a device or a pipe
        if settings.format is None and stat.S_ISCHR(path.stat().st_mode):
            settings = settings._replace(format="v4l2")
        return _open_live(location, f"'{location}'", settings)
    if settings.format is not None:  # a device that is no file, under the name that the format has for it
        return _open_live(location, f"'{location}'", settings)
    raise FileNotFoundError(errno.ENOENT, "there is no such video file or folder", location)


def open_camera(number: int, settings: OpenSettings) -> VideoSource:
    """Open a camera by its number, 0 for the first.

    Raises:
        FileNotFoundError: there is no such camera.
        ValueError: a negative number; a system on which cameras have names alone.
    """
    if number < 0:
        raise ValueError(f"the number of a camera must be at least 0, got {number}")
    if sys.platform == "darwin":
        return _open_live(str(number), f"camera {number}", settings._replace(format=settings.format or "avfoundation"))
    if sys.platform == "win32":
        raise ValueError(
            f"camera {number}: cameras have names on Windows; open one by its name, "
            f"open_video('video=Integrated Camera', format='dshow'), or with cv2.VideoCapture({number})"
        )
    device = f"/dev/video{number}"
    if not os.path.exists(device):
        raise FileNotFoundError(errno.ENOENT, f"there is no camera {number}", device)
    return _open_live(device, f"camera {number}", settings._replace(format=settings.format or "v4l2"))


def _open_folder(path: Path, settings: OpenSettings) -> ImageSource:
    name = f"the folder '{path}'"
    settings.refuse(name, "format", "options", "drop_frames", "channel_order", live=True)
    return ImageSource(
        images_in_folder(path),
        f"'{path}'",
        input_data_format=settings.input_data_format,
        cache_size=settings.cache_size,
        prefetch=settings.read_ahead,
        value_range=settings.value_range,
    )


def _open_file(path: Path, settings: OpenSettings) -> VideoSource:
    name = f"'{path}'"
    settings.refuse(name, "channel_order")
    if path.stat().st_size == 0:
        raise ValueError(f"{name} is an empty file")
    if settings.format is None:
        pages = open_pages(path)
        if pages is not None:
            return _open_pages(pages, name, settings)
        if settings.value_range.is_set and path.suffix.lower() in IMAGE_SUFFIXES:
            return _open_pages([path], name, settings)
    settings.refuse_window(f"{name}: {_EIGHT_BITS}")
    location = f"file:{path}"  # so that no part of the path is taken for a protocol
    if settings.stream:
        return _open_live(location, name, settings._replace(timeout=None))
    _refuse_dropping(settings, name)
    try:
        return FileSource(
            partial(open_container, location, name, format=settings.format, options=settings.options),
            name,
            missing_end=partial(find_missing_end, path),
            cache_size=settings.cache_size,
            prefetch=settings.read_ahead,
        )
    except ValueError as error:
        reason = explain_missing_index(path)
        if reason:
            raise ValueError(f"{name} is not a video that can be read: {reason}") from error
        raise


def _open_pages(pages: ImagePages | list[Path], name: str, settings: OpenSettings) -> ImageSource:
    settings.refuse(name, "options", "drop_frames", live=True)
    return ImageSource(
        pages, name, cache_size=settings.cache_size, prefetch=settings.read_ahead, value_range=settings.value_range
    )


def _open_address(address: str, settings: OpenSettings) -> VideoSource:
    """A recording over HTTP can be read from any position, and knows how long it is; the rest is live."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    name = f"'{urlunsplit((parts.scheme, host, parts.path, '', ''))}'"  # passwords and tokens stay out of messages
    settings.refuse(name, "channel_order")
    settings.refuse_window(f"{name}: {_EIGHT_BITS}")
    open_clip = partial(
        open_container, address, name, format=settings.format, options=settings.options, timeout=settings.timeout
    )
    recorded = settings.stream is False
    if settings.stream is None and parts.scheme in ("http", "https"):
        with open_clip() as container:
            recorded = container.duration is not None
    if not recorded:
        return _open_live(address, name, settings)
    _refuse_dropping(settings, name)
    return FileSource(open_clip, name, cache_size=settings.cache_size, prefetch=settings.read_ahead)


def _open_live(location: str, name: str, settings: OpenSettings) -> StreamSource:
    settings.refuse(name, "channel_order")
    settings.refuse_window(f"{name}: {_EIGHT_BITS}")
    if settings.stream is False:
        raise ValueError(f"{name} is live: its frames come in their order, so stream=False cannot be met")
    if settings.prefetch == 0:
        raise ValueError(f"{name} is read on a thread of its own: prefetch must be at least 1")
    container = open_container(
        location, name, format=settings.format, options=settings.options, timeout=settings.timeout
    )
    video_stream = pick_stream(container, name)
    return StreamSource(
        live_frames(container, video_stream),
        name,
        fps=frame_rate(video_stream),
        cache_size=settings.cache_size,
        prefetch=settings.read_ahead,
        drop_frames=settings.drop_frames,
    )


def _refuse_dropping(settings: OpenSettings, name: str) -> None:
    if settings.drop_frames:
        raise ValueError(f"{name} is not live: drop_frames would lose frames of a recording that can wait")
