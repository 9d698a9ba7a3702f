"""What a session stores of one object in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..arrays import Array
from .recipe import Provenance, Recipe, Source
from .stored_arrays import stored


class KeptMask(Protocol):
    """A mask that lies elsewhere in little space."""

    def logits(self) -> Array | None:
        """Logits (1, h, w), exact along the mask's edge; None if there is no mask."""


@dataclass(frozen=True)
class FrameMemory:
    """What later frames attend to.

    Attributes:
        features: (D, h, w); None once only the pointer can still be read.
        pointer: (C,).
    """

    features: Array | None
    pointer: Array


@dataclass(frozen=True)
class FrameResult:
    """One object in one frame.

    Attributes:
        mask_logits: (1, h, w); None once nobody can look at them again.
        object_score: (1,), above 0 where the object is visible.
        iou: (1,), the estimated IoU of the mask.
        memory: what later frames attend to.
        is_conditioning: whether the frame conditions the object.
        tracked_in_reverse: the direction in which tracking passed the frame; None before it did.
        provenance: what a tracked result was computed from; None for the result of a prompt.
        version: a number that no other result of the session has.
        visible: whether the object score is above 0, where that was read from the device already; or what the memory
            policy says instead.
        policy_state: what the memory policy knows after this frame; None where it observed nothing.
        source: the result as later ones read it; None where nothing is ever computed again.
        recipe: how the result is computed again; None for the result of a prompt.
        kept: where the mask lies, once the logits were dropped and can be computed again.
        alternatives: the results of the object's other paths, where a memory policy follows several: this result is of
            path 0, and they are of those from 1 on, each stored as this one is.
    """

    mask_logits: Array | None
    object_score: Array
    iou: Array
    memory: FrameMemory
    is_conditioning: bool
    tracked_in_reverse: bool | None = None
    provenance: Provenance | None = None
    version: int = 0
    visible: bool | None = field(default=None, compare=False)
    policy_state: dict[str, Any] | None = None
    source: Source | None = None
    recipe: Recipe | None = None
    kept: KeptMask | None = field(default=None, compare=False)
    alternatives: tuple[Any, ...] = ()

    def tensors(self) -> tuple[Array, ...]:
        """Everything that is stored."""
        candidates = (self.mask_logits, self.object_score, self.iou, self.memory.features, self.memory.pointer)
        own = tuple(tensor for tensor in candidates if tensor is not None)
        return own + tuple(tensor for other in self.alternatives for tensor in other.tensors())

    @property
    def is_visible(self) -> bool:
        """Whether the object is visible. Where `visible` is not set, this waits for the device."""
        return bool(self.object_score > 0) if self.visible is None else self.visible

    @property
    def is_promoted(self) -> bool:
        """Whether the memory policy made a tracked frame a conditioning frame."""
        return self.is_conditioning and self.provenance is not None

    def stands(self, reverse: bool, provenance: Provenance) -> bool:
        """Whether tracking in this direction would give this result again, reading what `provenance` names."""
        same = self.tracked_in_reverse == reverse and self.provenance == provenance
        return same and (self.mask_logits is not None or self.kept is not None)

    @property
    def shown_logits(self) -> Array | None:
        """Logits (1, h, w) of the mask, wherever it is stored: exact along the mask's edge; None if it was dropped."""
        return self.mask_logits if self.mask_logits is not None or self.kept is None else self.kept.logits()

    def stored_on(self, device: Any) -> FrameResult:
        """Copy to a device, as results are kept: a view of the batch would keep the other objects' rows alive."""

        def keep(array: Array | None, is_memory: bool = False) -> Array | None:
            return None if array is None else stored(array, device, is_memory)

        return replace(
            self,
            mask_logits=keep(self.mask_logits),
            object_score=stored(self.object_score, device),
            iou=stored(self.iou, device),
            memory=FrameMemory(keep(self.memory.features, is_memory=True), stored(self.memory.pointer, device)),
            alternatives=tuple(other.stored_on(device) for other in self.alternatives),
        )


def paths_of(entry: Any) -> tuple[Any, ...]:
    """The results of all paths of an object in a frame, in the order of their numbers."""
    return (entry, *entry.alternatives)


def path_of(entry: Any, number: int) -> Any:
    """The result of one path of an object in a frame; where the frame has no such path, the first."""
    return entry.alternatives[number - 1] if 0 < number <= len(entry.alternatives) else entry


def shown_of(entry: Any) -> Any:
    """The result of the path that is shown, which later frames decide; at first it is the first."""
    return path_of(entry, 0 if entry.policy_state is None else entry.policy_state.get("shown", 0))
