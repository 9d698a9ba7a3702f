"""The policy of SAM 2: the frames just passed.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714), section 4, memory bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .policy import MemoryPolicy, require_at_least_one
from .selection import SpatialMemory

if TYPE_CHECKING:
    from .history import History


@dataclass(frozen=True)
class RecentMemory(MemoryPolicy):
    """Reads the frames just passed.

    Attributes:
        stride: recent memories lie this many frames apart, but the neighbour of the frame is always read.
    """

    stride: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_one("stride", self.stride)

    def recent_memories(self, history: History, frame: int, reverse: bool) -> list[SpatialMemory]:
        """Slots of the frames just passed, oldest first, whether or not the frames exist."""
        # Backward tracking is forward tracking with time mirrored. The neighbour comes first; the others sit on
        # multiples of the stride, so that a frame stays in the window while it ages.
        direction = -1 if reverse else 1
        now = frame * direction
        newest_on_grid = (now - 2) // self.stride
        slots = []
        for age in range(self.num_maskmem - 1, 0, -1):
            other = now - 1 if age == 1 else (newest_on_grid - (age - 2)) * self.stride
            slots.append(SpatialMemory(other * direction, age - 1))
        return slots

    def readable_memories(self, history: History, frame: int, reverse: bool) -> list[int]:
        """The window of the next frame."""
        following = frame - 1 if reverse else frame + 1
        return [slot.frame for slot in self.recent_memories(history, following, reverse)]
