"""A video file as a source of frames: decoded on demand, in any order, in bounded memory."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from ..arrays import Array
from .container import FrameConverter, OpenClip, probe
from .file_end import MissingEnd
from .frame_decoder import FrameDecoder
from .frame_table import FrameTable, build_frame_table
from .source import VideoDecodingError, VideoSource

if TYPE_CHECKING:
    from .pyav import VideoFrame

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm")
)
"""Of the files that are taken for clips where files are looked for. Any other file is opened when it is named."""

#: Decoded frames that reading backward may hold at a time, in their own pixel format.
REVERSE_BUFFER_BYTES = 128 * 2**20
_REVERSE_BUFFER_MIN_FRAMES = 4


class FileSource(VideoSource):
    """Frames of a video file, or of a recording behind an HTTP address.

    Opening decodes the first frame and no more. All packets are read once, undecoded, when a frame other than
    the first is asked for (or its count, where the container does not list its frames), because only their times
    say which frame is which. After that a frame costs decoding from the key frame before it, or from the last one
    asked for. Pixels need not be square; they are given as stored.

    Args:
        open_clip: opens the file; called again for every thread that reads.
        name: what errors call the file.
        missing_end: tells what the file lacks at its end by its own structure.
        cache_size: number of decoded frames to keep.
        prefetch: number of frames to read ahead; 0 for no thread.

    Raises:
        ValueError: the file is no video, or none of its frames can be decoded.
    """

    def __init__(
        self,
        open_clip: OpenClip,
        name: str,
        *,
        missing_end: Callable[[], MissingEnd] = MissingEnd,
        cache_size: int = 8,
        prefetch: int = 4,
    ):
        super().__init__(name, cache_size=cache_size, prefetch=prefetch)
        self._open_clip = open_clip
        self._missing_end = missing_end
        self._info, frame = probe(open_clip, name)
        self._convert = self._new_converter()
        first = self._convert(frame)
        self._cache.put(0, first)
        self._size = (first.shape[1], first.shape[2])
        self._reverse_frames = max(_REVERSE_BUFFER_MIN_FRAMES, REVERSE_BUFFER_BYTES // self._info.frame_bytes)
        self._known_table: FrameTable | None = None
        self._decoder: FrameDecoder | None = None
        self._decoders: weakref.WeakSet[FrameDecoder] = weakref.WeakSet()
        self._table_lock = threading.Lock()
        self._decoder_lock = threading.Lock()

    @property
    def num_frames(self) -> int:
        """Number of frames that the file declares. Asking for one that is lost raises `VideoDecodingError`."""
        if self._known_table is None and self._info.indexed_frames is not None:
            return self._info.indexed_frames
        return self._table.promised

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames, upright."""
        return self._size

    @property
    def fps(self) -> float | None:
        """Frames a second, on average; `timestamp` tells the time of each where the rate varies."""
        return self._info.fps

    def timestamp(self, index: int) -> float | None:
        """Seconds from the first frame to frame `index`; None for lost frames and files without times."""
        return self._table.seconds(self._check_index(index))

    @property
    def _table(self) -> FrameTable:
        with self._table_lock:
            if self._known_table is None:
                self._check_open()
                self._known_table = build_frame_table(self._open_clip, self._info, self._missing_end())
            return self._known_table

    def _new_decoder(self, frame_threads: bool) -> FrameDecoder:
        decoder = FrameDecoder(self._open_clip, self._table, self.name, frame_threads)
        self._decoders.add(decoder)
        return decoder

    def _new_converter(self) -> FrameConverter:
        return FrameConverter(self._info.size, self._info.orientation)

    def _load(self, index: int) -> Array:
        with self._decoder_lock:
            self._check_open()
            if self._decoder is None:
                self._decoder = self._new_decoder(frame_threads=False)
            return self._convert(self._decoder.frame(index))

    def _read(self, indices: range) -> Generator[Array, None, None]:
        decoder = self._new_decoder(frame_threads=True)
        convert = self._new_converter()
        try:
            if indices.step > 0:
                for index in indices:
                    yield convert(decoder.frame(index))
            else:
                for segment in self._segments(indices):
                    yield from _read_backward(decoder, convert, segment)
        finally:
            decoder.close()

    def _segments(self, indices: range) -> Iterator[range]:
        """Cut descending frame numbers into pieces that one pass forward can serve: within one group of frames,
        and few enough to hold."""
        table, start = self._table, 0
        while start < len(indices):
            key = table.keys[table.key_before(indices[start])].frame
            within = (indices[start] - key) // -indices.step + 1
            end = start + min(within, self._reverse_frames, len(indices) - start)
            yield indices[start:end]
            start = end

    def after_fork(self) -> None:
        """Start over with decoders, conversions and locks of this process."""
        super().after_fork()
        self._table_lock = threading.Lock()
        self._decoder_lock = threading.Lock()
        self._convert = self._new_converter()
        for decoder in list(self._decoders):
            decoder.after_fork()

    def _release(self) -> None:
        with self._decoder_lock:
            if self._decoder is not None:
                self._decoder.close()
                self._decoder = None

    def _facts(self) -> list[str]:
        known = self._known_table is not None or self._info.indexed_frames is not None
        count = f"{self.num_frames} frames" if known else "frames not counted yet"
        rate = [f"{self.fps:.5g} fps"] if self.fps else []
        return [count, f"{self.width}x{self.height}", *rate, *super()._facts()]


def _read_backward(decoder: FrameDecoder, convert: FrameConverter, segment: range) -> Generator[Array, None, None]:
    """Decode descending frame numbers forward, and give them out in their own order.

    Frames wait as they were decoded, which takes half the memory of RGB. Damage is raised at its position, after
    the frames that come before it on the way back.
    """
    waiting: list[VideoFrame | VideoDecodingError] = []
    for index in reversed(segment):
        try:
            waiting.append(decoder.frame(index))
        except VideoDecodingError as error:
            waiting.append(error)
    while waiting:
        frame = waiting.pop()
        if isinstance(frame, VideoDecodingError):
            raise frame
        yield convert(frame)
