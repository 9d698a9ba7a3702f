"""What everything mode knows of an object beside the memories in its session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class KnownObject:
    """One object, tracked or lost.

    Attributes:
        name: in the results.
        label: what the finder says it is; None where it says nothing.
        facts: what the finder says of it beside that.
        first_frame: where it was admitted.
        last_visible: the newest frame that shows it.
        visible_since: the first of the frames without a gap up to `last_visible` that show it.
        gone_at: the last frame that showed it before `visible_since`; None before it was first hidden.
        before: (h, w) bool, its mask in the frame before; empty where it was hidden.
        continuity: least IoU of its masks in two frames that follow each other, since the last search.
    """

    name: Hashable
    label: str | None
    facts: dict[str, Any]
    first_frame: int
    last_visible: int
    visible_since: int
    before: Tensor
    gone_at: int | None = None
    continuity: float = 1.0

    def show(self, frame_idx: int) -> None:
        """Note that a frame shows the object."""
        if frame_idx > self.last_visible + 1:
            self.gone_at, self.visible_since = self.last_visible, frame_idx
        self.last_visible = frame_idx

    def may_be(self, younger: KnownObject, since: int) -> bool:
        """Whether a younger object may be this one, found again.

        Args:
            younger: the other object.
            since: the frame of the last search.

        Returns:
            Whether this one was hidden in the last search and reappeared since, or is hidden now, and the younger one
            was admitted while it was hidden: what was visible beside it is another object.
        """
        if younger.label != self.label:
            return False
        gone_at = self.gone_at if self.visible_since > since else None
        return gone_at is not None and younger.first_frame > gone_at


@dataclass
class Names:
    """Names for new objects: numbers from 1, or the label with a number."""

    counts: Counter[str | None] = field(default_factory=Counter)

    def next(self, label: str | None) -> Hashable:
        """Make a name that was not given before."""
        self.counts[label] += 1
        number = self.counts[label]
        return number if label is None else f"{label} {number}"
