"""Plans of the interaction with a clip: the frames that are prompted and corrected, and how.

Source: Ravi et al., "SAM 2" (arXiv 2408.00714, section 5 and the appendix on training).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .clicks import Where

PromptKind = Literal["mask", "click", "box"]


@dataclass(frozen=True)
class Interaction:
    """Probabilities and limits of simulated prompts and corrections; the defaults are those of the paper.

    Attributes:
        mask: probability that the first prompts of a clip are masks. A single image has a click or a box.
        click: probability of a click; the rest is the probability of a box.
        max_first_frames: most frames that are prompted before tracking; the first frame is one of them.
        max_corrected_frames: most frames with corrections, the prompted ones included.
        corrections: clicks on such a frame, one after the other.
        blind: probability that a correction is drawn from the whole object instead of the error.
    """

    mask: float = 0.5
    click: float = 0.25
    max_first_frames: int = 2
    max_corrected_frames: int = 2
    corrections: int = 7
    blind: float = 0.1

    def __post_init__(self) -> None:
        for name in ("mask", "click", "blind"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability, got {getattr(self, name)}")
        if self.mask + self.click > 1:
            raise ValueError(f"mask and click must add up to 1 at most, got {self.mask} and {self.click}")
        if self.max_first_frames < 1:
            raise ValueError(f"max_first_frames must be at least 1, got {self.max_first_frames}")
        for name in ("max_corrected_frames", "corrections"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class InteractionPlan:
    """Interaction with one clip, the same for all objects, so that they share every batch.

    Attributes:
        first_frames: kind of the prompt by frame; the first frame is one of them.
        corrected: by frame, a flag for each click: whether it is blind.
        where: position of clicks in the error.
    """

    first_frames: dict[int, PromptKind]
    corrected: dict[int, tuple[bool, ...]]
    where: Where = "uniform"


def plan_interaction(interaction: Interaction, num_frames: int, rng: np.random.Generator) -> InteractionPlan:
    """Draw the interaction with a clip. Masks need no correction.

    The number of prompted frames is drawn uniformly, and then the number of corrected frames, which include them.

    Args:
        interaction: probabilities and limits.
        num_frames: of the clip.
        rng: to draw from.

    Returns:
        The plan.
    """
    uses_masks = num_frames > 1 and rng.random() < interaction.mask
    # Masks are given, not predicted: one frame at least is left to learn from.
    promptable = num_frames - 1 if uses_masks else num_frames
    first_count = int(rng.integers(1, min(interaction.max_first_frames, promptable), endpoint=True))
    later = rng.permutation(np.arange(1, num_frames)).tolist()
    first = [0, *later[: first_count - 1]]
    click_share = interaction.click / (1 - interaction.mask) if interaction.mask < 1 else 1.0
    kinds: dict[int, PromptKind] = {}
    for frame in sorted(first):
        kinds[frame] = "mask" if uses_masks else "click" if rng.random() < click_share else "box"
    if uses_masks or interaction.max_corrected_frames == 0 or interaction.corrections == 0:
        return InteractionPlan(kinds, {})
    most = max(min(interaction.max_corrected_frames, num_frames), first_count)
    corrected_count = int(rng.integers(first_count, most, endpoint=True))
    frames = sorted([*first, *later[first_count - 1 : corrected_count - 1]])
    return InteractionPlan(
        kinds,
        {frame: tuple((rng.random(interaction.corrections) < interaction.blind).tolist()) for frame in frames},
    )


def evaluation_plan(kind: PromptKind = "click", corrections: int = 0) -> InteractionPlan:
    """Make the plan of an evaluation: a prompt on the first frame, and corrections at the centre of the error.

    Args:
        kind: of the prompt.
        corrections: clicks on the first frame; none after a mask.

    Returns:
        The plan, the same for every clip.
    """
    corrected = {0: (False,) * corrections} if corrections and kind != "mask" else {}
    return InteractionPlan({0: kind}, corrected, where="centre")
