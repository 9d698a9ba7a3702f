"""Which frames a video file holds, when each is shown, and where decoding may start.

A container is read packet by packet without decoding. That gives the time of every frame, which frames are key
frames, and whether the file holds what it declares; frames are numbered in the order of their times. Files whose
packets have no usable times (raw streams, H.264 in AVI) are decoded once to count their frames.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from .container import ClipInfo, OpenClip, decode_frames, pick_stream, shown_index_entries
from .file_end import MissingEnd
from .pyav import describe_error, import_av

if TYPE_CHECKING:
    from .pyav import InputContainer, VideoStream

#: How far a file may fall short of the length that it declares in seconds, which many writers get slightly wrong.
_LENGTH_TOLERANCE_SECONDS = 1.0
_LENGTH_TOLERANCE_FRAMES = 3

#: Formats of broadcasting, whose frames come at a constant rate and whose files end without an end mark.
_BROADCAST_FORMATS = ("mpeg", "mpegts")


class KeyFrame(NamedTuple):
    """A frame that decoding can start at: its number, and its times of showing and decoding in ticks."""

    frame: int
    shown: int
    decoded: int


class Packets(NamedTuple):
    """What the packets of a file say, in the order in which they are stored. Times are in ticks of `tick` seconds.

    `keys` are the (showing, decoding) times of the key frames; `untimed` packets have no time; `declared` is the
    number of frames that the file claims to hold; `damage` is why reading stopped short, after the packet with the
    decoding time `last_decoded`.
    """

    times: list[int]
    keys: list[tuple[int, int]]
    untimed: int
    tick: Fraction
    declared: int
    damage: str
    last_decoded: int


@dataclass(frozen=True)
class FrameTable:
    """The frames of a file.

    `count` frames are there to be read; `promised` is what the file declares: more, if it is damaged, and then
    `damage` says how. `times` are in ticks of `tick` seconds, ascending; without them frames can only be counted
    from the start. The first key frame is frame 0, whatever it is: decoding can always start there.
    """

    count: int
    promised: int
    damage: str
    keys: Sequence[KeyFrame] = (KeyFrame(0, 0, 0),)
    times: Sequence[int] = ()
    tick: Fraction = Fraction(0)

    def index_of(self, time: int) -> int:
        """Number of the frame that is shown at `time`; -1 before the first."""
        return bisect_right(self.times, time) - 1

    def key_before(self, index: int) -> int:
        """Position in `keys` of the last key frame that is not after frame `index`."""
        return bisect_right(self.keys, index, key=lambda key: key.frame) - 1

    def seconds(self, index: int) -> float | None:
        """Time from the first frame to frame `index`; None where there is none or it is lost."""
        if index >= len(self.times):
            return None
        return float((self.times[index] - self.times[0]) * self.tick)


def build_frame_table(open_clip: OpenClip, info: ClipInfo, missing_end: MissingEnd) -> FrameTable:
    """Read all packets of a file, without decoding them, and number its frames.

    Args:
        open_clip: opens the file.
        info: what its first frame told.
        missing_end: what the file lacks at its end by its own structure.

    Returns:
        The table of its frames.
    """
    with open_clip() as container:
        packets = _read_packets(container, pick_stream(container, info.name), info, missing_end)
    first = info.first_time
    if first is None or not _can_number_frames(packets, info):
        return _count_frames(open_clip, info, missing_end)
    # The decoder starts at the first frame that is whole; what comes before in time is never shown.
    times = array("q", sorted(time for time in packets.times if time >= first))
    keys = [KeyFrame(0, first, first)]
    keys += [KeyFrame(bisect_left(times, shown), shown, decoded) for shown, decoded in packets.keys if shown > first]
    promised, damage = len(times), packets.damage
    if damage or info.format in _BROADCAST_FORMATS:
        times = _before_first_gap(times, packets, info.fps)
        if len(times) < promised:
            damage = damage or "the file ends before a frame that is shown between others"
    if packets.damage:
        promised += max(1, packets.declared - len(packets.times))
    return FrameTable(len(times), promised, damage, keys, times, packets.tick)


def _read_packets(container: InputContainer, stream: VideoStream, info: ClipInfo, missing_end: MissingEnd) -> Packets:
    times: list[int] = []
    keys: list[tuple[int, int]] = []
    untimed, damage, last_decoded = 0, "", 0
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:  # the end, or a frame that an edit list hides
                continue
            if packet.pts is None:
                untimed += 1
                continue
            decoded = packet.pts if packet.dts is None else packet.dts
            if packet.dts is not None or not times:
                last_decoded = decoded
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append((packet.pts, decoded))
    except import_av().FFmpegError as error:
        damage = f"the file cannot be read further: {describe_error(error)}"
    declared = _declared_frames(container, stream, times, info.fps)
    if declared > len(times) and not damage:
        damage = f"the file is cut short: it declares {declared} frames and holds {len(times)}"
    damage = damage or missing_end.reason
    if missing_end.last_is_partial and len(times) > 1:
        partial = times.pop()
        keys = [key for key in keys if key[0] != partial]
    return Packets(times, keys, untimed, stream.time_base or Fraction(0), declared, damage, last_decoded)


def _before_first_gap(times: array[int], packets: Packets, fps: float | None) -> array[int]:
    """Frame times of a file that is cut short, up to where a frame is missing between others.

    A frame is stored after those that it builds on, so frames shown before it may have been cut off while it was
    not. All that are shown up to the last decoding time are there; after that, a gap shows where one is missing.
    """
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    usual = float(gaps[len(gaps) // 2]) if gaps else 0.0
    if fps and packets.tick:
        usual = min(usual, 1 / (fps * float(packets.tick)))
    for index in range(max(1, bisect_right(times, packets.last_decoded)), len(times)):
        if times[index] - times[index - 1] > 1.5 * usual:
            return times[:index]
    return times


def _declared_frames(container: InputContainer, stream: VideoStream, times: list[int], fps: float | None) -> int:
    """How many frames a file claims to hold. MP4 lists them; others give a number or a duration, and are held to
    it only where what they have falls clearly short."""
    listed = shown_index_entries(container, stream)
    if listed is not None:
        return max(listed, len(times))
    if not fps:
        return len(times)
    shown = sorted(times)
    gap = max((later - earlier for earlier, later in pairwise(shown)), default=0)
    tick = stream.time_base or Fraction(0)
    # A frame may be shown for long: the last one of a screen recording as long as any before it, say.
    tolerance = max(_LENGTH_TOLERANCE_SECONDS, _LENGTH_TOLERANCE_FRAMES / fps, 2 * float(gap * tick))
    held = float((shown[-1] - shown[0]) * tick) if shown else 0.0
    seconds = _declared_seconds(stream)
    if max((stream.frames - len(times)) / fps, seconds - held) <= tolerance:
        return len(times)
    return max(stream.frames, round(seconds * fps), len(times) + 1)


def _declared_seconds(stream: VideoStream) -> float:
    """The duration that the container gives this stream; 0 where it gives none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", stream.metadata.get("DURATION", ""))  # Matroska's tag
    if match is None:
        return 0.0
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _can_number_frames(packets: Packets, info: ClipInfo) -> bool:
    """Whether packet times can number the frames: all there, all different, ascending from key frame to key frame,
    and not merely a count of packets in decoding order, which is what AVI has to offer for H.264."""
    times = packets.times
    if packets.untimed or not packets.keys or len(set(times)) < len(times):
        return False
    if any(later[0] <= earlier[0] for earlier, later in pairwise(packets.keys)):
        return False
    return not ("avi" in info.format and info.reorder_depth and all(a < b for a, b in pairwise(times)))


def _count_frames(open_clip: OpenClip, info: ClipInfo, missing_end: MissingEnd) -> FrameTable:
    """Count frames by decoding them all, up to the first error.

    Where the file is cut short, the last ones may not be those that they are counted as: a frame is stored before
    those that are shown before it, and as many as the decoder reorders may be lost.
    """
    count, damage = 0, ""
    with open_clip() as container:
        try:
            for _ in decode_frames(container, pick_stream(container, info.name)):
                count += 1
        except import_av().FFmpegError as error:
            damage = describe_error(error)
    promised = count + bool(damage or missing_end.reason)
    if missing_end.reason:
        count = max(1, count - info.reorder_depth)
    return FrameTable(count, promised, damage or missing_end.reason)
