"""Any frame of a video file: decoding forward from where the decoder is, or from the key frame before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from .container import OpenClip, pick_stream
from .forking import never_free
from .frame_table import FrameTable
from .pyav import describe_error, import_av
from .source import VideoDecodingError

if TYPE_CHECKING:
    from .pyav import InputContainer, Packet, VideoFrame

#: Decoding on more threads is faster, but each holds frames of its own.
_MAX_FRAME_THREADS = 4

#: A transport stream marks the frames next to a break in its count of packets, even where whole recordings were joined.
#: There, the decoder is to judge.
_JOINABLE_FORMAT = "mpegts"


class FrameDecoder:
    """Frames of one file by number, for one thread.

    Decoding goes on from where it stands if the wanted frame lies ahead and no key frame in between; else it
    starts at the key frame before the wanted frame. One frame is kept at a time, plus what the codec holds.

    A run of frames starts at a key frame. Within it:
    - A frame that the decoder reports as broken, or marks so, raises `VideoDecodingError`.
    - A packet that yields no frame and no error shows the frame before it for longer, as players do.
    - Where the very first frame of a run is missing or marked broken, the run began too late (recovery points
      need some frames to recover), and an earlier key frame is tried.

    With `frame_threads` several frames are decoded at once, which is faster in sequence and slower to start. At
    the first fault it is given up, because such a decoder loses whole frames next to broken ones.
    """

    def __init__(self, open_clip: OpenClip, table: FrameTable, name: str, frame_threads: bool = False):
        self._open_clip = open_clip
        self._table = table
        self._name = name
        self._frame_threads = frame_threads
        self._run_key = 0  # the key frame, by its position in the table, that this run started at
        self._ready: deque[tuple[int, VideoFrame]] = deque()  # frames to come, with their numbers
        self._shown: tuple[int, VideoFrame] | None = None  # the last frame that was passed
        self._faults: dict[int, str] = {}  # what the decoder complained of in this run, by frame
        self._counted = 0  # frames decoded in this run
        self._is_forked = False
        self._open()

    def frame(self, index: int) -> VideoFrame:
        """Decode frame `index`.

        Raises:
            VideoDecodingError: the frame is damaged or lost.
        """
        if index >= self._table.count:
            raise VideoDecodingError(index, self._table.damage)
        if self._is_forked:
            self._is_forked = False
            self._open()
        if not self._lies_ahead(index):
            self._start_at_key(self._table.key_before(index))
        step_back = 1
        while True:
            frame = self._advance(index)
            if frame is not None:
                return frame
            if self._frame_threads:
                self._frame_threads = False
                self._reopen()
                self._start_at_key(self._table.key_before(index))
            elif self._shown is None and self._run_key > 0 and index not in self._faults:
                self._start_at_key(max(0, self._run_key - step_back))
                step_back *= 2
            else:
                raise VideoDecodingError(index, self._why_not(index))

    def _why_not(self, index: int) -> str:
        decoded = self._shown is not None and self._shown[0] == index
        unnamed = "it comes out damaged" if decoded else "the decoder gives no frame for it"
        return self._faults.get(index, unnamed)

    def after_fork(self) -> None:
        """Leave file and threads to the parent process; the next frame opens the file anew."""
        never_free(self._container)
        self._is_forked = True

    def close(self) -> None:
        """Close the file. The decoder cannot be used any more.

        Nothing may refer back to the decoder then: a codec keeps the memory of all frames that it ever had out at
        once, and waiting for garbage collection would pile that up.
        """
        self._begin_run(0, iter(()))
        if not self._is_forked:
            self._container.close()

    def _lies_ahead(self, index: int) -> bool:
        position = self._table.keys[self._run_key].frame if self._shown is None else self._shown[0]
        if index < position:
            return False
        return self._table.keys[self._table.key_before(index)].frame <= position + 1

    def _advance(self, index: int) -> VideoFrame | None:
        """Go on to frame `index`, and return what stands there: None if that is damaged or missing."""
        upcoming = None
        while self._shown is None or self._shown[0] < index:
            upcoming = self._peek()
            if upcoming is None or upcoming[0] > index:
                break
            self._shown = self._ready.popleft()
        if self._shown is None or index in self._faults:
            return None
        number, frame = self._shown
        if number == index:
            return None if frame.is_corrupt else frame
        # Not there. If there is a later one and no complaint, the one before stands in.
        return frame if upcoming is not None and not self._faults else None

    def _peek(self) -> tuple[int, VideoFrame] | None:
        """The next decoded frame and its number; None at the end of the file."""
        while not self._ready:
            packet = next(self._packets, None)
            if packet is None:
                return None
            for frame in self._decode(packet):
                number = self._number(frame)
                if number >= 0:
                    self._ready.append((number, frame))
        return self._ready[0]

    def _decode(self, packet: Packet) -> list[VideoFrame]:
        if packet.size == 0 and (packet.pts is not None or packet.dts is not None):
            return []  # an empty packet repeats a frame; to the decoder it would mean the end
        if packet.is_corrupt and self._container.format.name != _JOINABLE_FORMAT:
            self._report(packet, "its data is damaged or cut short")
            return []
        if self._faults and self._place(packet) < max(self._faults):
            self._report(packet, "it builds on a later frame that is damaged")
        error_types = import_av().error
        try:
            return packet.decode()
        except error_types.EOFError:
            return []
        except error_types.FFmpegError as error:
            self._report(packet, describe_error(error))
            return []

    def _report(self, packet: Packet, reason: str) -> None:
        self._faults[self._place(packet)] = reason

    def _place(self, packet: Packet) -> int:
        """Number of the frame that a packet holds, as far as that can be told; -1 for what comes before frame 0."""
        if packet.pts is None or not self._table.times:
            return self._counted or -1
        return self._table.index_of(packet.pts)

    def _number(self, frame: VideoFrame) -> int:
        self._counted += 1
        if not self._table.times:
            return self._counted - 1
        return -1 if frame.pts is None else self._table.index_of(frame.pts)

    def _start_at_key(self, number: int) -> None:
        """Begin a run at key frame `number` of the table, or before it where the container cannot do better."""
        key = self._table.keys[number]
        # Some containers seek by the time of showing and some by the time of decoding.
        for time in (key.shown, key.decoded) if number > 0 else ():
            try:
                self._container.seek(time, stream=self._stream)
                packet = next(packet for packet in self._demux() if packet.is_keyframe)
            except (import_av().FFmpegError, StopIteration):
                continue
            if packet.pts is not None and packet.pts <= key.shown:
                self._begin_run(number, chain([packet], self._demux()))
                return
        self._reopen()  # the one way back to the first frame that works for every container

    def _reopen(self) -> None:
        self._container.close()
        self._open()

    def _open(self) -> None:
        self._container: InputContainer = self._open_clip()
        self._stream = pick_stream(self._container, self._name)
        if self._frame_threads:
            self._stream.thread_type = "AUTO"
            self._stream.codec_context.thread_count = min(_MAX_FRAME_THREADS, os.cpu_count() or 1)
        self._begin_run(0, self._demux())

    def _begin_run(self, key: int, packets: Iterator[Packet]) -> None:
        self._run_key = key
        self._packets = packets
        self._ready.clear()
        self._shown = None
        self._faults.clear()
        self._counted = 0

    def _demux(self) -> Iterator[Packet]:
        av = import_av()
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError:  # the frame table says where and why
            last = av.Packet()  # an empty packet has the decoder give out the frames that it holds back
            last.stream = self._stream
            yield last
