"""What a session stores of one object: its prompts, and its results with what later frames attend to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..arrays import Array
from .archive import CompactResult, Entry
from .frame_result import FrameMemory, FrameResult, paths_of
from .memory.policy import MemoryPolicy
from .prompts import PointPrompt, Prompt
from .result_history import ResultHistory, SupersededHistory


@dataclass
class ObjectState:
    """One object.

    `superseded` are the frames whose prompts were segmented since the object was last tracked, each with the result
    that stood there before, if any. Further prompts still read those: the clicks of one correction all start from the
    same memories, as in training, in whatever order and on however many frames they come.

    Invariants: every pending frame has a prompt; every prompt is pending or has a result; every result is that of a
    prompt or was tracked from one; every superseded frame has a result.

    Attributes:
        prompts: prompts by frame.
        results: results by frame.
        pending: frames whose prompt is not yet segmented.
        superseded: see above.
    """

    prompts: dict[int, Prompt] = field(default_factory=dict)
    results: ResultHistory = field(default_factory=ResultHistory)
    pending: set[int] = field(default_factory=set)
    superseded: dict[int, Entry | None] = field(default_factory=dict)

    def prompted_frames(self) -> set[int]:
        """Frames that condition the object, or will once their prompt is segmented."""
        return self.pending.union(self.results.conditioning)

    def tensors(self) -> Iterator[Array]:
        """Everything that is stored of the object."""
        whole = (entry for _, entry in self.results.entries())
        for entry in (*self.prompts.values(), *whole, *self.superseded.values()):
            if entry is not None and not isinstance(entry, CompactResult):
                yield from entry.tensors()
        yield from self.results.archive.arrays()
        for recomputed in self.results.recomputed.values():
            yield from recomputed

    def copy(self) -> ObjectState:
        """Copy the object; tensors are shared, as nothing ever writes to them."""
        return ObjectState(dict(self.prompts), self.results.copy(), set(self.pending), dict(self.superseded))

    def move_to(self, device: Any) -> None:
        """Move everything that is stored of the object."""
        self.prompts = {frame: prompt.stored_on(device) for frame, prompt in self.prompts.items()}
        self.results.recomputed.clear()
        for frame, result in list(self.results.entries()):
            self.results[frame] = _moved(result, device)
        self.superseded = {
            frame: None if old is None else _moved(old, device) for frame, old in self.superseded.items()
        }

    def before_prompts(self) -> SupersededHistory:
        """The results as they were when the object was last tracked, which is what prompts read."""
        return SupersededHistory(self.results, self.superseded)

    def add_result(self, frame_idx: int, result: FrameResult) -> None:
        """Put a result in place of the one on the frame; a new conditioning frame goes behind the others."""
        if result.provenance is None:
            self.superseded.setdefault(frame_idx, self.results.entry(frame_idx))
        else:
            self.superseded.clear()
        self.results[frame_idx] = result
        self.pending.discard(frame_idx)

    def add_prompt(self, frame_idx: int, prompt: Prompt, keep_old_points: bool = False) -> None:
        """Put a prompt in place of the one on the frame, or add points to the points there."""
        old = self.prompts.get(frame_idx)
        if keep_old_points and isinstance(old, PointPrompt) and isinstance(prompt, PointPrompt):
            prompt = old.followed_by(prompt)
        self.prompts[frame_idx] = prompt
        self.pending.add(frame_idx)

    def take_back_prompt(self, frame_idx: int) -> None:
        """Forget the prompt of a frame with what was segmented from it, and what was tracked from nothing else."""
        self.pending.discard(frame_idx)
        self.prompts.pop(frame_idx, None)
        result, before = self.results.entry(frame_idx), self.superseded.pop(frame_idx, None)
        if result is not None and result.provenance is None:
            del self.results[frame_idx]
        if before is not None and before.provenance is not None:
            self.results[frame_idx] = before
        prompted = [frame for frame in self.results.conditioning if not self.results[frame].is_promoted]
        first, last = min(prompted, default=math.inf), max(prompted, default=-math.inf)
        for frame, other in list(self.results.entries()):
            is_supported = last > frame if other.tracked_in_reverse else first < frame
            if not is_supported and frame not in prompted:
                del self.results[frame]
        self.superseded = {frame: old for frame, old in self.superseded.items() if frame in self.results}
        # A correction that has nothing left to correct speaks for itself.
        self.pending.update(self.prompts.keys() - self.results.keys())

    def release_prompt(self, frame_idx: int) -> None:
        """Forget the prompt of a frame; its result, if something was tracked from it, no longer conditions.

        A result that nothing was tracked from gives way to the one that stood there before, if any.
        """
        self.pending.discard(frame_idx)
        self.prompts.pop(frame_idx, None)
        if frame_idx in self.superseded:
            before = self.superseded.pop(frame_idx)
            del self.results[frame_idx]
            if before is not None:
                self.results[frame_idx] = before
        result = self.results.get(frame_idx)
        if result is not None and result.is_conditioning:
            self.results[frame_idx] = replace(result, is_conditioning=False, tracked_in_reverse=None)

    def forget_unreadable(self, policy: MemoryPolicy, frame_idx: int, reverse: bool, keep_prompted: bool) -> None:
        """Drop what tracking in this direction, going on from a frame, cannot read.

        Of that frame itself and of those ahead all is kept, with the memories that a correction there would read.

        Args:
            policy: decides what can be read.
            frame_idx: the frame.
            reverse: whether the clip is tracked backwards.
            keep_prompted: also keep the prompts and masks of conditioning frames, for clips that can be gone through
                again.
        """
        direction = -1 if reverse else 1
        keep = policy.retained(self.results, frame_idx - direction, reverse)
        conditioning = {frame for frame in self.results.conditioning if not self.results[frame].is_promoted}
        delay = policy.answer_delay(keeps_masks=False) or 0

        def stays_whole(frame: int) -> bool:
            return (frame - frame_idx) * direction >= -delay or (keep_prompted and frame in conditioning)

        for frame in [frame for frame in self.results if not stays_whole(frame)]:
            if frame in keep.features:
                self._drop_mask(frame)
            elif frame in keep.pointers:
                self._drop_mask(frame, features_too=True)
            else:
                del self.results[frame]
        self.prompts = {
            frame: prompt for frame, prompt in self.prompts.items() if frame in self.pending or stays_whole(frame)
        }

    def _drop_mask(self, frame: int, features_too: bool = False) -> None:
        result = self.results[frame]
        memory = FrameMemory(None, result.memory.pointer) if features_too else result.memory
        if result.mask_logits is not None or memory.features is not result.memory.features:
            self.results[frame] = _without_mask(result, features_too)


def _without_mask(result: FrameResult, features_too: bool) -> FrameResult:
    memory = FrameMemory(None, result.memory.pointer) if features_too else result.memory
    alternatives = tuple(_without_mask(other, features_too) for other in result.alternatives)
    return replace(result, mask_logits=None, memory=memory, alternatives=alternatives)


def _moved(entry: Entry, device: Any) -> Entry:
    """A stored result on a device; in little space it stays on the host."""
    if isinstance(entry, CompactResult):
        return entry
    for path in paths_of(entry):
        if path.source is not None:
            path.source.move_to(device)
    return entry.stored_on(device)
