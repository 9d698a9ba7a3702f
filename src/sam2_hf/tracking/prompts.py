"""Prompts as a session stores them, of one object on one frame, and as training gives them, of all objects at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arrays import Array, beside, concatenate, copied_to


@dataclass(frozen=True)
class PointPrompt:
    """Points and a box, of one object, or of many on axes that lead.

    Attributes:
        points: (..., N, 2) as (x, y) in pixels of the model's input.
        labels: (..., N): 1 foreground, 0 background, 2 and 3 the corners of a box, which come first.
    """

    points: Array
    labels: Array

    def followed_by(self, other: PointPrompt) -> PointPrompt:
        """Append the points of another prompt, on whose device the result lies."""
        points, labels = (beside(mine, theirs) for mine, theirs in zip(self.tensors(), other.tensors(), strict=True))
        return PointPrompt(concatenate((points, other.points), axis=-2), concatenate((labels, other.labels), axis=-1))

    def tensors(self) -> tuple[Array, Array]:
        """Everything that is stored."""
        return self.points, self.labels

    def stored_on(self, device: Any) -> PointPrompt:
        """Copy to a device; the copy shares no memory with what the caller holds."""
        return PointPrompt(copied_to(self.points, device), copied_to(self.labels, device))


@dataclass(frozen=True)
class MaskPrompt:
    """A mask.

    Attributes:
        mask: (H, W) bool, at the model's input size.
    """

    mask: Array

    def tensors(self) -> tuple[Array]:
        """Everything that is stored."""
        return (self.mask,)

    def stored_on(self, device: Any) -> MaskPrompt:
        """Copy to a device; the copy shares no memory with what the caller holds."""
        return MaskPrompt(copied_to(self.mask, device))


Prompt = PointPrompt | MaskPrompt
