"""What a memory policy may ask of an object's history. No question takes longer the more frames there are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Container
from dataclasses import dataclass
from typing import Any, Protocol


class History(Protocol):
    """The frames of one object that have a memory, as a policy sees them."""

    def conditioning_for(self, frame: int, reverse: bool) -> Collection[int]:
        """Indices of the conditioning frames that a frame may read, in the order in which they came to condition.

        These are all that the user prompted, and those that a policy promoted and tracking has passed before `frame`.
        """

    def tracked_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a memory and are no conditioning frames."""

    def visible_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a memory and show the object."""

    def note_of(self, frame: int) -> tuple[dict[str, Any] | None, int]:
        """The state that a policy left with a frame, None if there is none, and the path of it that is read."""

    def visible_before(self, frame: int, count: int, reverse: bool, step: int = 1) -> list[int]:
        """The last frames that show the object.

        Args:
            frame: the index of the frame that reads. Only frames that tracking passes before it count.
            count: how many frames are wanted.
            reverse: whether the clip is tracked backwards, so that frames after this one are passed before it.
            step: only frames whose index is a multiple of it count.

        Returns:
            At most `count` indices, the nearest first.
        """


class FrameRuns:
    """A set of frame indices, stored as runs of consecutive ones.

    Invariant: run i holds the indices from `_starts[i]` to `_stops[i] - 1`; runs are in ascending order and neither
    overlap nor touch. An object is visible or hidden for many frames in a row, so there are few runs.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def copy(self) -> FrameRuns:
        """Copy the set."""
        copied = FrameRuns()
        copied._starts, copied._stops = list(self._starts), list(self._stops)
        return copied

    def add(self, frame: int) -> None:
        """Insert a frame."""
        after = bisect_right(self._starts, frame)
        if after and frame < self._stops[after - 1]:
            return
        extends_before = after > 0 and self._stops[after - 1] == frame
        extends_after = after < len(self._starts) and self._starts[after] == frame + 1
        if extends_before and extends_after:
            self._stops[after - 1] = self._stops.pop(after)
            del self._starts[after]
        elif extends_before:
            self._stops[after - 1] = frame + 1
        elif extends_after:
            self._starts[after] = frame
        else:
            self._starts.insert(after, frame)
            self._stops.insert(after, frame + 1)

    def discard(self, frame: int) -> None:
        """Remove a frame, if it is there."""
        run = bisect_right(self._starts, frame) - 1
        if run < 0 or frame >= self._stops[run]:
            return
        parts = [(self._starts[run], frame), (frame + 1, self._stops[run])]
        parts = [(start, stop) for start, stop in parts if start < stop]
        self._starts[run : run + 1] = [start for start, _ in parts]
        self._stops[run : run + 1] = [stop for _, stop in parts]

    def before(self, frame: int, count: int, reverse: bool = False, step: int = 1) -> list[int]:
        """The nearest multiples of `step` below `frame` (above it in reverse), at most `count`, the nearest first."""
        found: list[int] = []
        if reverse:
            for run in range(bisect_right(self._stops, frame + 1), len(self._starts)):
                if len(found) == count:
                    break
                first = -(-max(self._starts[run], frame + 1) // step) * step
                found += range(first, min(self._stops[run], first + (count - len(found)) * step), step)
            return found
        for run in range(bisect_left(self._starts, frame) - 1, -1, -1):
            if len(found) == count:
                break
            last = (min(self._stops[run], frame) - 1) // step * step
            found += range(last, max(self._starts[run] - 1, last - (count - len(found)) * step), -step)
        return found


@dataclass(frozen=True)
class FrameSets:
    """A history given as sets of frames, for the short clips of training.

    Attributes:
        conditioning: indices of the conditioning frames, in the order in which they were prompted.
        tracked: indices of the other frames that have a memory.
        visible: indices of the frames that show the object; None for all.
    """

    conditioning: Collection[int]
    tracked: Collection[int]
    visible: Container[int] | None = None

    def conditioning_for(self, frame: int, reverse: bool) -> Collection[int]:
        """All conditioning frames; see `History.conditioning_for`."""
        return self.conditioning

    def tracked_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a memory and are no conditioning frames."""
        return {frame for frame in frames if frame in self.tracked}

    def visible_among(self, frames: Collection[int]) -> set[int]:
        """Those of the frames that have a memory and show the object."""
        there = {frame for frame in frames if frame in self.tracked or frame in self.conditioning}
        return there if self.visible is None else {frame for frame in there if frame in self.visible}

    def note_of(self, frame: int) -> tuple[dict[str, Any] | None, int]:
        """Nothing: in training, policies keep no state."""
        return None, 0

    def visible_before(self, frame: int, count: int, reverse: bool, step: int = 1) -> list[int]:
        """The last frames that show the object; see `History.visible_before`."""
        visible = self.visible_among((*self.conditioning, *self.tracked))
        passed = [other for other in visible if (other > frame if reverse else other < frame) and other % step == 0]
        return sorted(passed, reverse=not reverse)[:count]
