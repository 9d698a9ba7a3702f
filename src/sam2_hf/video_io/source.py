"""What every video source offers: frames by number, in order, read ahead, and a size.

The kinds of source (`file_source`, `image_source`, `stream_source`) fill in how a frame is read; caching,
reading ahead, range checks and closing are written here once.
"""

from __future__ import annotations

import contextlib
import operator
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any

from ..arrays import Array, is_tensor, to_numpy
from ..inputs.lru_cache import LruCache
from ..inputs.value_range import ValueRange
from .forking import tell_after_fork
from .prefetch import Prefetcher

# A frame, and what a caller wants instead of it.
PreparedFrame = tuple[Array, Array]


class VideoDecodingError(ValueError):
    """A frame of a video cannot be read, although the ones before it could.

    `index` is the frame's number and `reason` says what is wrong with it. The source stays usable: frames
    before and after the damage can still be asked for.
    """

    def __init__(self, index: int, reason: str):
        super().__init__(index, reason)
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"frame {self.index} cannot be read: {self.reason}"


class FrameUnavailableError(LookupError):
    """A stream was asked for a frame that has gone by and is no longer kept."""


class VideoSource(ABC):
    """Frames of one video, numbered from 0 in the order in which they are shown.

    A frame is a uint8 tensor (3, height, width), RGB, turned upright. Its memory is usually laid out as
    (height, width, 3), the order in which decoders write and in which PyTorch resizes bytes fastest, so no
    copy is made on the way. Frames are shared with the source's cache and, for images already in memory,
    with the caller's own arrays: treat them as read-only.

    A source may be shared by any number of threads and sessions. Close it, or use it in a `with` block, when
    the last of them is done.
    """

    gives_tensors: bool = True
    """Whether frames are tensors of torch, or NumPy arrays."""

    #: Whether any frame can be asked for in any order. A stream goes forward only, each frame once.
    seekable: bool = True

    def __init__(self, name: str, *, cache_size: int, prefetch: int):
        if prefetch < 0:
            raise ValueError(f"prefetch must be 0 (no thread) or a number of frames, got {prefetch}")
        self.name = name
        self._cache = LruCache[int, Array](cache_size, "cache_size")
        self._prefetch = prefetch
        self._closed = False
        self._readers: weakref.WeakSet[Prefetcher[Any]] = weakref.WeakSet()
        self._readers_lock = threading.Lock()
        tell_after_fork(self)

    # What the kinds of source fill in

    @property
    @abstractmethod
    def num_frames(self) -> int | None:
        """Number of frames; None for a stream, which ends when it ends."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame in pixels, after rotation. A stream reads its first frame for it."""

    @abstractmethod
    def _load(self, index: int) -> Array:
        """Read frame `index`, known to be in range and not in the cache."""

    @abstractmethod
    def _read(self, indices: range) -> Generator[Array, None, None]:
        """Read the frames of `indices`, in that order, with whatever state that takes of its own."""

    def _release(self) -> None:  # noqa: B027 - most sources hold nothing to release
        """Give back what the source holds open."""

    # What all sources have in common

    @property
    def height(self) -> int:
        """Rows of every frame, after rotation."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Columns of every frame, after rotation."""
        return self.size[1]

    def has_passed(self, index: int) -> bool:
        """Whether the source has gone past a frame and cannot give it any more. Reads nothing."""
        return False

    @property
    def value_range(self) -> ValueRange:
        """The window that brought the frames' values to 8 bits; not set where they were taken as their type says."""
        return ValueRange()

    @property
    def fps(self) -> float | None:
        """Frames a second, the average where the rate varies; None where nothing says."""
        return None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def timestamp(self, index: int) -> float | None:
        """Seconds from the first frame to frame `index`; None where the source has no clock."""
        self._check_index(index)
        return None

    def __len__(self) -> int:
        if self.num_frames is None:
            raise TypeError(f"{self!r} has no known length: it goes on until it ends")
        return self.num_frames

    def __bool__(self) -> bool:
        return True  # whether a source "is there" must not depend on its length being known

    def __getitem__(self, index: int) -> Array:
        """Read a frame.

        Args:
            index: its number, from 0.

        Returns:
            uint8 (3, height, width), RGB, upright. Treat it as read-only.

        Raises:
            IndexError: outside the clip.
            VideoDecodingError: the frame is damaged or lost.
            FrameUnavailableError: a stream has passed it.
            ValueError: the source is closed.
        """
        self._check_open()
        index = self._check_index(index)
        cached = self._cache.get(index)
        frame = self._hand_out(self._load(index) if cached is None else cached)
        if frame is not cached:
            self._cache.put(index, frame)
        return frame

    def __iter__(self) -> Iterator[Array]:
        return (frame for _, frame in self.iterate())

    def iterate(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int = 1,
        prepare: Callable[[Array], Array] | None = None,
    ) -> Generator[tuple[int, Array], None, None]:
        """Read frames one after the other, ahead of their use on a thread.

        Each call reads on its own, so several may run at once. Closing the iterator, dropping it or closing the source
        ends its thread.

        Args:
            start: number of the first frame; None for the first one in the direction of travel.
            stop: number of the frame to stop before; None for the end of the clip in the direction of travel.
            step: as that of `range`; -1 goes backward. A stream goes forward only.
            prepare: makes of each frame what is delivered instead of it, on the thread that reads.

        Returns:
            Pairs (index, frame), the frame uint8 (3, height, width) or what `prepare` made of it.

        Raises:
            IndexError: `start` is outside the clip.
            ValueError: a step of 0; the source is closed.
            VideoDecodingError: instead of a frame that is damaged or lost.
        """
        self._check_open()
        indices = self._range(start, stop, step)
        return self._deliver(indices, self._read_ahead(_prepared(self._handed_out(indices), prepare)))

    def as_arrays(self) -> VideoSource:
        """Give frames as NumPy arrays instead of tensors from now on, for programs without torch.

        Returns:
            This source.
        """
        self.gives_tensors = False
        return self

    def _hand_out(self, frame: Array) -> Array:
        """A frame as callers get it, of the same memory."""
        if not self.gives_tensors:
            return to_numpy(frame)
        if is_tensor(frame):
            return frame
        import torch

        return torch.from_numpy(frame)

    def _handed_out(self, indices: range) -> Generator[Array, None, None]:
        with contextlib.closing(self._read(indices)) as frames:
            for frame in frames:
                yield self._hand_out(frame)

    def close(self) -> None:
        """Stop reading ahead, forget the cached frames and let go of files and devices. May be repeated."""
        with self._readers_lock:
            self._closed = True
            readers = list(self._readers)
        for reader in readers:
            reader.close()
        self._release()
        self._cache.clear()

    def after_fork(self) -> None:
        """Start over in a forked process; called there before anything else. See `forking`."""
        self._cache = LruCache(self._cache.size)
        self._readers_lock = threading.Lock()
        for reader in list(self._readers):
            reader.after_fork()
        self._readers.clear()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {', '.join(self._facts())}>"

    def _facts(self) -> list[str]:
        """What is known without reading anything, in words."""
        return ["closed"] if self.closed else []

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the video source {self.name} is closed")

    def _check_index(self, index: int) -> int:
        if isinstance(index, slice):
            raise TypeError("a video source takes one frame number; use iterate(start, stop, step) for several")
        index = operator.index(index)
        count = self.num_frames
        if index < 0 or (count is not None and index >= count):
            last = "" if count is None else f" to {count - 1}"
            raise IndexError(f"frame {index} is out of range: {self.name} has frames 0{last}")
        return index

    def _range(self, start: int | None, stop: int | None, step: int) -> range:
        """The frame numbers that `iterate(start, stop, step)` visits."""
        count = len(self)
        if step == 0:
            raise ValueError("step must not be 0")
        if start is None:
            start = 0 if step > 0 else count - 1
        start = self._check_index(start)
        if stop is None:
            stop = count if step > 0 else -1
        return range(start, min(max(stop, -1), count), step)

    def _read_ahead(
        self, frames: Generator[PreparedFrame, None, None]
    ) -> Prefetcher[PreparedFrame] | Generator[PreparedFrame, None, None]:
        if self._prefetch == 0:
            return frames
        with self._readers_lock:
            self._check_open()
            reader = Prefetcher(frames, self._prefetch)
            self._readers.add(reader)
        return reader

    def _deliver(
        self, indices: range, frames: Prefetcher[PreparedFrame] | Generator[PreparedFrame, None, None]
    ) -> Generator[tuple[int, Array], None, None]:
        try:
            for index, (frame, prepared) in zip(indices, frames, strict=False):
                self._check_open()
                self._cache.put(index, frame)  # a caller that shows what was tracked asks for it again
                yield index, prepared
        finally:
            frames.close()


def _prepared(
    frames: Generator[Array, None, None], prepare: Callable[[Array], Array] | None
) -> Generator[PreparedFrame, None, None]:
    with contextlib.closing(frames):
        for frame in frames:
            yield frame, frame if prepare is None else prepare(frame)
