"""A policy of this package: the last frames that show an object, and frames that resolved distractors.

It joins `VisibleMemory` and the frames that `DistractorAwareMemory` promotes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .dam4sam import DistractorAwareMemory
from .selection import SpatialMemory
from .visible import newest_visible

if TYPE_CHECKING:
    from .history import History


@dataclass(frozen=True)
class ResolvingMemory(DistractorAwareMemory):
    """Reads the frame just passed, the last frames that show the object, and frames that resolve distractors.

    Recent memories lie next to each other, as those of `VisibleMemory`; the frames that resolve distractors are read
    besides them, and take no slots. `stride` has no effect.
    """

    def recent_memories(self, history: History, frame: int, reverse: bool) -> list[SpatialMemory]:
        """Slots of the neighbour and of the last visible frames, oldest first, numbered without gaps."""
        return newest_visible(history, frame, self.num_maskmem - 1, reverse)

    def readable_memories(self, history: History, frame: int, reverse: bool) -> list[int]:
        """A full window of visible frames, and the frame itself."""
        following = frame - 1 if reverse else frame + 1
        return [frame, *history.visible_before(following, self.num_maskmem - 1, reverse)]

    def readable_pointers(self, history: History, frames: Collection[int]) -> Collection[int]:
        """All."""
        return frames
