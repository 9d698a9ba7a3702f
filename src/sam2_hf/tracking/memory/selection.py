"""What a memory policy answers: the memories that one frame reads, and those that some later frame can still read."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

ALL_CONDITIONING_FRAMES = -1


class SpatialMemory(NamedTuple):
    """A feature map to read: its frame, and the row of the temporal encoding that goes with it."""

    frame: int
    temporal_index: int


class PointerMemory(NamedTuple):
    """An object pointer to read: its frame, and how many frames ago that was (negative: still to come)."""

    frame: int
    distance: int


class MemorySelection(NamedTuple):
    """What one frame reads: conditioning frames first, each kind in order of time."""

    memories: tuple[SpatialMemory, ...]
    pointers: tuple[PointerMemory, ...]

    def frames(self) -> tuple[list[int], list[int]]:
        """The frames of the memories, and those of the pointers."""
        return [slot.frame for slot in self.memories], [slot.frame for slot in self.pointers]


class RetainedFrames(NamedTuple):
    """Frames already passed whose feature map, and frames whose pointer, some later frame can still read."""

    features: frozenset[int]
    pointers: frozenset[int]


def closest_conditioning_frames(frame: int, conditioning: Collection[int], limit: int) -> list[int]:
    """Choose the conditioning frames that a frame reads.

    The nearest one before the frame and the nearest one not before it come first, whatever their distance, then the
    others by distance. Of two at the same distance, the one listed first wins.

    Args:
        frame: the index of the frame that reads.
        conditioning: the indices of the conditioning frames, in the order in which they were prompted.
        limit: how many are read at most; -1 reads all.

    Returns:
        The chosen indices, in order of time.
    """
    if limit == ALL_CONDITIONING_FRAMES or len(conditioning) <= limit:
        return sorted(conditioning)
    before = max((other for other in conditioning if other < frame), default=None)
    onwards = min((other for other in conditioning if other >= frame), default=None)
    by_preference = sorted(conditioning, key=lambda other: (other not in (before, onwards), abs(other - frame)))
    return sorted(by_preference[:limit])
