"""A policy for objects that hide: the last frames that show the object.

Source: that frames without the object are better not read is found by Videnovic et al., "A Distractor-Aware Memory for
Visual Object Tracking with SAM2" (arXiv 2411.17576), and Yang et al., "SAMURAI" (arXiv 2411.11922).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .policy import MemoryPolicy
from .selection import SpatialMemory

if TYPE_CHECKING:
    from .history import History


@dataclass(frozen=True)
class VisibleMemory(MemoryPolicy):
    """Reads the frame just passed and the last frames in which the object is visible, however long ago.

    Where the object is visible all along, these are the frames that `RecentMemory` reads.
    """

    reads_visibility: ClassVar[bool] = True

    def recent_memories(self, history: History, frame: int, reverse: bool) -> list[SpatialMemory]:
        """Slots of the neighbour and of the last visible frames, oldest first, numbered without gaps."""
        neighbour = frame + 1 if reverse else frame - 1
        newest = history.visible_before(frame, self.num_maskmem - 1, reverse)
        if neighbour not in newest[:1] and (
            history.tracked_among([neighbour]) or neighbour in history.conditioning_for(frame, reverse)
        ):
            newest = [neighbour, *newest][: self.num_maskmem - 1]
        return [SpatialMemory(newest[index], index) for index in range(len(newest) - 1, -1, -1)]

    def readable_memories(self, history: History, frame: int, reverse: bool) -> list[int]:
        """A full window of visible frames, and the frame itself, which takes one's slot only while it is the
        neighbour."""
        following = frame - 1 if reverse else frame + 1
        return [frame, *history.visible_before(following, self.num_maskmem - 1, reverse)]
