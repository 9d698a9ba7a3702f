"""What the simulated person does to a clip: which frames they prompt, with what, and which they correct.

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
    """How people act, as probabilities and limits; the defaults are the paper's.

    Attributes:
        mask: probability that the first prompts of a clip are masks. A single image always gets a click or a box.
        click: probability of a click; what remains is the probability of a box.
        max_first_frames: up to so many frames are prompted before anything is tracked; the first frame always is.
        max_corrected_frames: up to so many frames, the first ones included, get corrections.
        corrections: how many clicks correct such a frame, one after the other.
        blind: probability that a correction is clicked anywhere on the object, whatever is wrong.
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
    """What happens in one clip. All objects are treated alike, so that they share every batch.

    Attributes:
        first_frames: the frames that are prompted, with the kind of the prompt; the first frame is among them.
        corrected: the frames that get corrections, each with one flag a click: whether it is blind.
        where: where clicks go.
    """

    first_frames: dict[int, PromptKind]
    corrected: dict[int, tuple[bool, ...]]
    where: Where = "uniform"


def plan_interaction(interaction: Interaction, num_frames: int, rng: np.random.Generator) -> InteractionPlan:
    """Draws what happens in a clip of `num_frames` frames.

    Masks need no correction. The number of frames that are prompted at first is drawn evenly, and then the number of
    those that are corrected, which include them.
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
    """The same for every clip: a prompt on the first frame, and corrections there, into the centre of the error."""
    corrected = {0: (False,) * corrections} if corrections and kind != "mask" else {}
    return InteractionPlan({0: kind}, corrected, where="centre")
