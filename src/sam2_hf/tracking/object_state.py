"""What a session remembers of one object: its prompts, and its results with what later frames attend to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from .memory_bank import (
    MemoryRule,
    MemorySelection,
    PointerMemory,
    SpatialMemory,
    retained_frames,
    select_memory,
)

# Memory features are kept in half the space, whatever the model computes in; the official code does the same.
MEMORY_DTYPE = torch.bfloat16


@dataclass(frozen=True)
class PointPrompt:
    """Points (N, 2) as (x, y) in pixels of the model's input, with labels (N,): 1 foreground, 0 background, and
    2, 3 for the corners of a box, which come first."""

    points: Tensor
    labels: Tensor

    def followed_by(self, other: PointPrompt) -> PointPrompt:
        """This prompt and then the other one's points."""
        points, labels = (mine.to(theirs.device) for mine, theirs in zip(self.tensors(), other.tensors(), strict=True))
        return PointPrompt(torch.cat((points, other.points)), torch.cat((labels, other.labels)))

    def tensors(self) -> tuple[Tensor, Tensor]:
        return self.points, self.labels

    def stored_on(self, device: torch.device) -> PointPrompt:
        """A copy there, which shares no memory with what the caller holds."""
        return PointPrompt(self.points.to(device, copy=True), self.labels.to(device, copy=True))


@dataclass(frozen=True)
class MaskPrompt:
    """The object's mask (H, W) bool, at the model's input size."""

    mask: Tensor

    def tensors(self) -> tuple[Tensor]:
        return (self.mask,)

    def stored_on(self, device: torch.device) -> MaskPrompt:
        """A copy there, which shares no memory with what the caller holds."""
        return MaskPrompt(self.mask.to(device, copy=True))


Prompt = PointPrompt | MaskPrompt
# The frames whose memories, and those whose pointers, went into a result, each with the version that was read.
Provenance = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class FrameMemory:
    """What later frames attend to: features (D, h, w), None once only the pointer (C,) can still be read."""

    features: Tensor | None
    pointer: Tensor


@dataclass(frozen=True)
class FrameResult:
    """One object in one frame.

    `mask_logits` (1, h, w), None once nobody can look at them again; `object_score` (1,), `iou` (1,).
    `tracked_in_reverse` is the direction in which tracking passed the frame, None before it did. `provenance` is what
    a tracked result was computed from, None for the result of a prompt. Whatever replaces a result has a new `version`.
    """

    mask_logits: Tensor | None
    object_score: Tensor
    iou: Tensor
    memory: FrameMemory
    is_conditioning: bool
    tracked_in_reverse: bool | None = None
    provenance: Provenance | None = None
    version: int = 0

    def tensors(self) -> tuple[Tensor, ...]:
        """All that is there."""
        candidates = (self.mask_logits, self.object_score, self.iou, self.memory.features, self.memory.pointer)
        return tuple(tensor for tensor in candidates if tensor is not None)

    @cached_property
    def is_visible(self) -> bool:
        """Whether the object is there. Reading it waits for the device, so it is not read without need."""
        return bool(self.object_score > 0)

    def stands(self, reverse: bool, provenance: Provenance) -> bool:
        """Whether tracking in this direction would give this result again, reading what `provenance` names."""
        same = self.tracked_in_reverse == reverse and self.provenance == provenance
        return same and self.mask_logits is not None

    def stored_on(self, device: torch.device) -> FrameResult:
        """A copy there, as it is kept: a view of the batch would keep the other objects' rows alive."""

        def keep(tensor: Tensor | None, dtype: torch.dtype | None = None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, dtype or tensor.dtype, copy=True)

        return replace(
            self,
            mask_logits=keep(self.mask_logits),
            object_score=self.object_score.to(device, copy=True),
            iou=self.iou.to(device, copy=True),
            memory=FrameMemory(keep(self.memory.features, MEMORY_DTYPE), self.memory.pointer.to(device, copy=True)),
        )


@dataclass
class ObjectTrack:
    """One object: prompts and results by frame; `pending` are the frames whose prompt is not yet segmented.

    `superseded` are the frames whose prompts were segmented since the object was last tracked, each with the result
    that stood there before, if any. Further prompts still read those: the clicks of one correction all start from the
    same memories, as in training, in whatever order and on however many frames they come.

    Invariants: every pending frame has a prompt; every prompt is pending or has a result; every result is that of a
    prompt or was tracked from one; every superseded frame has a result.
    """

    prompts: dict[int, Prompt] = field(default_factory=dict)
    results: dict[int, FrameResult] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    superseded: dict[int, FrameResult | None] = field(default_factory=dict)

    def conditioning_frames(self) -> list[int]:
        return [frame for frame, result in self.results.items() if result.is_conditioning]

    def tracked_frames(self) -> list[int]:
        return [frame for frame, result in self.results.items() if not result.is_conditioning]

    def prompted_frames(self) -> set[int]:
        """Frames that condition the object, or will once their prompt is segmented."""
        return self.pending.union(self.conditioning_frames())

    def tensors(self) -> Iterator[Tensor]:
        """Everything that is stored of the object."""
        for entry in (*self.prompts.values(), *self.results.values(), *self.superseded.values()):
            if entry is not None:
                yield from entry.tensors()

    def features(self, frame_idx: int) -> Tensor:
        """The features (D, h, w) of a frame that `select_memory` chose."""
        features = self.results[frame_idx].memory.features
        assert features is not None, "features that can be read are never dropped"
        return features

    def select_memory(self, rule: MemoryRule, frame_idx: int, reverse: bool) -> MemorySelection:
        """What the object reads in a frame, from the history as it is now."""
        tracked, visible = set(self.tracked_frames()), self._visible_frames(rule)
        return select_memory(rule, frame_idx, self.conditioning_frames(), tracked, reverse, visible)

    def _visible_frames(self, rule: MemoryRule) -> set[int] | None:
        """The frames that show the object, None for a rule that does not ask."""
        if not rule.visible_only:
            return None
        return {frame for frame, result in self.results.items() if result.is_visible}

    def provenance(self, selection: MemorySelection, reverse: bool) -> Provenance:
        """The selection with the versions of what it names.

        Results that were tracked the other way are read where there are any, but left out here: propagating both
        ways, each would otherwise make the other stale, for ever.
        """

        def versions(slots: tuple[SpatialMemory, ...] | tuple[PointerMemory, ...]) -> tuple[tuple[int, int], ...]:
            read = ((slot.frame, self.results[slot.frame]) for slot in slots)
            return tuple(
                (frame, result.version)
                for frame, result in read
                if result.is_conditioning or result.tracked_in_reverse == reverse
            )

        return versions(selection.memories), versions(selection.pointers)

    def before_prompts(self) -> ObjectTrack:
        """The object as it was when it was last tracked, which is what prompts read."""
        results = {frame: self.superseded.get(frame, result) for frame, result in self.results.items()}
        return ObjectTrack(results={frame: result for frame, result in results.items() if result is not None})

    def add_result(self, frame_idx: int, result: FrameResult) -> None:
        """Puts a result in the place of the one on the frame; a new conditioning frame goes behind the others."""
        old = self.results.get(frame_idx)
        if result.provenance is None:
            self.superseded.setdefault(frame_idx, old)
        else:
            self.superseded.clear()
        if result.is_conditioning and old is not None and not old.is_conditioning:
            del self.results[frame_idx]
        self.results[frame_idx] = result
        self.pending.discard(frame_idx)

    def add_prompt(self, frame_idx: int, prompt: Prompt, keep_old_points: bool = False) -> None:
        """Puts a prompt in the place of the one on the frame, or adds points to the points there."""
        old = self.prompts.get(frame_idx)
        if keep_old_points and isinstance(old, PointPrompt) and isinstance(prompt, PointPrompt):
            prompt = old.followed_by(prompt)
        self.prompts[frame_idx] = prompt
        self.pending.add(frame_idx)

    def take_back_prompt(self, frame_idx: int) -> None:
        """Forgets the prompt of a frame with what was segmented from it, and what was tracked from nothing else."""
        self.pending.discard(frame_idx)
        self.prompts.pop(frame_idx, None)
        result, before = self.results.get(frame_idx), self.superseded.pop(frame_idx, None)
        if result is not None and result.provenance is None:
            del self.results[frame_idx]
        if before is not None and before.provenance is not None:
            self.results[frame_idx] = before
        conditioning = self.conditioning_frames()
        first, last = min(conditioning, default=math.inf), max(conditioning, default=-math.inf)
        self.results = {
            frame: result
            for frame, result in self.results.items()
            if result.is_conditioning or (last > frame if result.tracked_in_reverse else first < frame)
        }
        self.superseded = {frame: old for frame, old in self.superseded.items() if frame in self.results}
        # A correction that has nothing left to correct speaks for itself.
        self.pending.update(self.prompts.keys() - self.results.keys())

    def forget_unreadable(self, rule: MemoryRule, frame_idx: int, reverse: bool, keep_prompted: bool) -> None:
        """Drops what tracking in this direction, going on from `frame_idx`, cannot read.

        Of that frame itself and of those ahead all is kept, with the memories that a correction there would read.
        `keep_prompted` also keeps the prompts and masks of conditioning frames, for clips that can be gone through
        again.
        """
        direction = -1 if reverse else 1
        before = frame_idx - direction
        conditioning = set(self.conditioning_frames())
        visible = self._visible_frames(rule)
        keep = retained_frames(rule, before, conditioning, self.tracked_frames(), reverse, visible)

        def stays_whole(frame: int) -> bool:
            return (frame - frame_idx) * direction >= 0 or (keep_prompted and frame in conditioning)

        for frame in [frame for frame in self.results if not stays_whole(frame)]:
            result = self.results[frame]
            if frame in keep.features:
                self.results[frame] = replace(result, mask_logits=None)
            elif frame in keep.pointers:
                memory = FrameMemory(None, result.memory.pointer)
                self.results[frame] = replace(result, mask_logits=None, memory=memory)
            else:
                del self.results[frame]
        self.prompts = {
            frame: prompt for frame, prompt in self.prompts.items() if frame in self.pending or stays_whole(frame)
        }
