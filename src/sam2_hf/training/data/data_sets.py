"""Data sets by their names in recipes and scripts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..collage.collages import Collages
from ..synthetic.challenges import ChallengeVideos
from ..synthetic.world import SyntheticVideos
from .annotated_video import AnnotatedVideo
from .coco import CocoImages
from .image_folder import ImageFolder
from .palette_folder import PaletteFolder
from .sa_v import SaVEvaluation, SaVTraining

KINDS: dict[str, Callable[..., Sequence[AnnotatedVideo]]] = {
    "synthetic": SyntheticVideos,
    "collage": Collages,
    "image_folder": ImageFolder,
    "coco": CocoImages,
    "challenges": ChallengeVideos,
    "palette": PaletteFolder,
    "sa_v_training": SaVTraining,
    "sa_v_evaluation": SaVEvaluation,
}


class Joined(Sequence[AnnotatedVideo]):
    """Concatenation of data sets."""

    def __init__(self, parts: Sequence[Sequence[AnnotatedVideo]]):
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __getitem__(self, index: int) -> AnnotatedVideo:  # type: ignore[override]
        rest = index
        for part in self._parts:
            if 0 <= rest < len(part):
                return part[rest]
            rest -= len(part)
        raise IndexError(f"index must lie in 0..{len(self) - 1}, got {index}")


def open_data(kind: str, options: dict[str, Any]) -> Sequence[AnnotatedVideo]:
    """Open a data set.

    Args:
        kind: a key of `KINDS`.
        options: the arguments of its class.

    Returns:
        Its videos.

    Raises:
        ValueError: for a kind or an option that does not exist.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {sorted(KINDS)}, got {kind!r}")
    accepted = inspect.signature(KINDS[kind]).parameters
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise ValueError(f"data of the kind {kind!r} has no option {unknown[0]!r}; known are {', '.join(accepted)}")
    return KINDS[kind](**options)
