"""A stream of frames: a generator, a camera, a live address. It goes forward only, each frame once."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..arrays import Array
from ..inputs.value_range import ValueRange
from .container import FrameConverter
from .forking import never_free
from .frame_reader import FrameReader
from .orientation import orientation_of
from .prefetch import Prefetcher
from .pyav import describe_error, import_av
from .source import FrameUnavailableError, PreparedFrame, VideoDecodingError, VideoSource

if TYPE_CHECKING:
    from .pyav import InputContainer, VideoStream

logger = logging.getLogger(__name__)

_CAP_PROP_FPS = 5  # OpenCV's number for the frames a second of a VideoCapture

TimedFrame = tuple[Array, "float | None"]


class StreamEnded(Exception):
    """What a live stream raises when it breaks off, before the number of the frame it happened at is known."""


class StreamSource(VideoSource):
    """Frames that come one after the other from an iterator of (frame, seconds), for as long as it lasts.

    The last `cache_size` frames can be asked for again. Asking for a later frame passes over those in between;
    asking for one that has gone by raises `FrameUnavailableError`. All users of a stream share its position.

    With `prefetch` 0 the iterator runs in the thread that asks for a frame, and only then: right for generators
    that react to what was tracked. Else a thread of its own stays up to `prefetch` frames ahead. With
    `drop_frames` that thread never waits and keeps the newest frame alone.
    """

    seekable = False

    def __init__(
        self,
        frames: Iterator[TimedFrame],
        name: str,
        *,
        fps: float | None = None,
        cache_size: int = 8,
        prefetch: int = 0,
        drop_frames: bool = False,
        frame_reader: FrameReader | None = None,
    ):
        super().__init__(name, cache_size=cache_size, prefetch=prefetch)
        self._frames = frames
        self._frame_reader = frame_reader
        self._fps = fps
        self._drop_frames = drop_frames
        self._reader: Prefetcher[TimedFrame] | None = None
        self._known_size: tuple[int, int] | None = None
        self._times: OrderedDict[int, float | None] = OrderedDict()
        self._position = 0  # the number of the next frame to come
        self._next_unused = 0  # one more than the last frame that was handed out
        self._failure: BaseException | None = None
        self._pull_lock = threading.Lock()

    @property
    def value_range(self) -> ValueRange:
        """Which values are black and white; with limits from the first frame on, also where percentiles were given."""
        return super().value_range if self._frame_reader is None else self._frame_reader.value_range

    @property
    def num_frames(self) -> None:
        """None: a stream has no length."""
        return None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames. Reads the first one if none was read yet; it is not used up by that."""
        with self._pull_lock:
            if self._known_size is None and not self._pull():
                raise ValueError(f"{self.name} ended before its first frame")
            assert self._known_size is not None
            return self._known_size

    def has_passed(self, index: int) -> bool:
        """Whether the stream has gone past a frame and no longer keeps it. Reads nothing."""
        return index < self._position and self._cache.get(index) is None

    @property
    def fps(self) -> float | None:
        """Frames a second that a camera announces."""
        return self._fps

    @property
    def frames_dropped(self) -> int:
        """How many frames gave way to newer ones because nobody took them in time."""
        return 0 if self._reader is None else self._reader.dropped

    def timestamp(self, index: int) -> float | None:
        """Seconds on the camera's clock, for the frames that are still kept; else None."""
        return self._times.get(self._check_index(index))

    def _load(self, index: int) -> Array:
        frame = self._reach(index)
        if frame is None:
            raise IndexError(f"frame {index} is out of range: {self.name} ended after {self._position} frames")
        return frame

    def _read(self, indices: range) -> Generator[Array, None, None]:
        for index in indices:
            frame = self._reach(index)
            if frame is None:
                return
            yield frame

    def _range(self, start: int | None, stop: int | None, step: int) -> range:
        if step < 1:
            raise ValueError(f"a stream goes forward only: step must be at least 1, got {step}")
        start = self._next_unused if start is None else self._check_index(start)
        return range(start, sys.maxsize if stop is None else stop, step)

    def _read_ahead(self, frames: Generator[PreparedFrame, None, None]) -> Generator[PreparedFrame, None, None]:
        return frames  # what is read ahead belongs to the stream, not to one iteration over it

    def _reach(self, index: int) -> Array | None:
        """Frame `index`, going forward to it if need be; None where the stream ends before."""
        with self._pull_lock:
            self._next_unused = max(self._next_unused, index + 1)
            while self._position <= index:
                if not self._pull():
                    return None
            frame = self._cache.get(index)
        if frame is None:
            raise FrameUnavailableError(
                f"frame {index} of {self.name} has gone by: a stream gives each frame once and keeps the last "
                f"{self._cache.size} (cache_size); it stands at frame {self._position}"
            )
        return frame

    def _pull(self) -> bool:
        """Take the next frame into the cache; False at the end. What broke the stream stays its answer."""
        self._check_open()
        if self._failure is not None:
            raise self._failure
        try:
            frame, seconds = next(self._incoming())
        except StopIteration:
            return False
        except StreamEnded as error:
            self._failure = VideoDecodingError(self._position, str(error))
            raise self._failure from error
        except Exception as error:
            if not self.closed:
                self._failure = error
            raise
        self._known_size = self._known_size or (frame.shape[1], frame.shape[2])
        self._cache.put(self._position, frame)
        self._times[self._position] = seconds
        if len(self._times) > self._cache.size:
            self._times.popitem(last=False)
        self._position += 1
        return True

    def _incoming(self) -> Iterator[TimedFrame]:
        if self._prefetch == 0:
            return self._frames
        if self._reader is None:
            depth = 1 if self._drop_frames else self._prefetch
            with self._readers_lock:
                self._check_open()
                self._reader = Prefetcher(self._frames, depth, drop_oldest=self._drop_frames)
                self._readers.add(self._reader)
        return self._reader

    def after_fork(self) -> None:
        """Leave what a thread reads to the parent process. A generator goes on here as well, as its own copy."""
        super().after_fork()
        self._pull_lock = threading.Lock()
        if self._prefetch:
            never_free(self._frames)
            self._failure = ValueError(f"{self.name} is read by the parent process: open it in this one to read it")

    def _release(self) -> None:
        self._frames = iter(())  # a camera that was never read from is closed with the last reference to it

    def _facts(self) -> list[str]:
        size = [] if self._known_size is None else [f"{self._known_size[1]}x{self._known_size[0]}"]
        return [f"stream at frame {self._position}", *size, *super()._facts()]


def frames_of(images: Iterable[Any], reader: FrameReader) -> Iterator[TimedFrame]:
    """Read the images of any iterable as frames, without times. Each is converted when it is taken."""
    for index, image in enumerate(images):
        yield reader.read(index, image), None


def is_capture(video: Any) -> bool:
    """Whether an object gives frames as OpenCV's `VideoCapture` does."""
    return all(callable(getattr(video, name, None)) for name in ("read", "isOpened"))


def images_of_capture(capture: Any, name: str) -> Iterator[Any]:
    """Read the images of a `VideoCapture` until it has no more. Its owner releases it.

    Raises:
        ValueError: it is not open.
    """
    if not capture.isOpened():
        raise ValueError(f"{name} is not open: check the camera's number or the file that it was made with")
    while True:
        found, image = capture.read()
        if not found:
            return
        yield image


def rate_of_capture(capture: Any) -> float | None:
    """Tell the frames a second of a `VideoCapture`; None where it does not know."""
    rate = capture.get(_CAP_PROP_FPS) if callable(getattr(capture, "get", None)) else None
    return float(rate) if rate and rate > 0 else None


def live_frames(container: InputContainer, stream: VideoStream) -> Iterator[TimedFrame]:
    """Decode frames of a camera or a live address, with the time at which each is shown.

    Packets that got lost or damaged on the way are passed over, since decoding recovers at the next key frame. The
    container belongs to this generator, which closes it.

    Raises:
        StreamEnded: the stream broke off, or its frames changed in size.
    """
    error_types = import_av().error
    convert: FrameConverter | None = None
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except error_types.EOFError:
                return
            except error_types.FFmpegError as error:
                logger.warning("passing over a damaged packet of %s: %s", stream, describe_error(error))
                continue
            for frame in frames:
                size = (frame.height, frame.width)
                convert = convert or FrameConverter(size, orientation_of(frame))
                if size != convert.size:
                    raise StreamEnded(_size_change(size, convert.size))
                yield convert(frame), frame.time
    except error_types.FFmpegError as error:
        raise StreamEnded(f"the stream broke off: {describe_error(error)}") from error
    finally:
        container.close()


def _size_change(size: tuple[int, int], first: tuple[int, int]) -> str:
    is_, was = (f"{height}x{width}" for height, width in (size, first))
    return (
        f"the stream changed its frames to {is_} (height x width), and began with {was}; open it again and begin a new "
        f"session for the new size, or hand over a generator that resizes all frames to one size"
    )
