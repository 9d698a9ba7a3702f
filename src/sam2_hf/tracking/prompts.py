"""Prompts as a session stores them, of one object on one frame, and as training gives them, of all objects at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointPrompt:
    """Points and a box, of one object, or of many on axes that lead.

    Attributes:
        points: (..., N, 2) as (x, y) in pixels of the model's input.
        labels: (..., N): 1 foreground, 0 background, 2 and 3 the corners of a box, which come first.
    """

    points: Tensor
    labels: Tensor

    def followed_by(self, other: PointPrompt) -> PointPrompt:
        """Append the points of another prompt, on whose device the result lies."""
        points, labels = (mine.to(theirs.device) for mine, theirs in zip(self.tensors(), other.tensors(), strict=True))
        return PointPrompt(torch.cat((points, other.points), dim=-2), torch.cat((labels, other.labels), dim=-1))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Everything that is stored."""
        return self.points, self.labels

    def stored_on(self, device: torch.device) -> PointPrompt:
        """Copy to a device; the copy shares no memory with what the caller holds."""
        return PointPrompt(self.points.to(device, copy=True), self.labels.to(device, copy=True))


@dataclass(frozen=True)
class MaskPrompt:
    """A mask.

    Attributes:
        mask: (H, W) bool, at the model's input size.
    """

    mask: Tensor

    def tensors(self) -> tuple[Tensor]:
        """Everything that is stored."""
        return (self.mask,)

    def stored_on(self, device: torch.device) -> MaskPrompt:
        """Copy to a device; the copy shares no memory with what the caller holds."""
        return MaskPrompt(self.mask.to(device, copy=True))


Prompt = PointPrompt | MaskPrompt
