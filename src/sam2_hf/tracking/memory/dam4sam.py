"""The policy of DAM4SAM: memories of frames in which the object was told apart from something like it.

Source: Videnovic et al., "A Distractor-Aware Memory for Visual Object Tracking with SAM2" (arXiv 2411.17576). Areas and
boxes are those of the decoder's masks, where the authors' code takes masks of the image's size. A promoted frame keeps
the memory with which it was tracked, where the authors' code encodes it anew as that of a prompt. The state is of each
object.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, ClassVar, TypeVar

from ...arrays import Array, concatenate, is_on_accelerator
from .candidates import MaskCandidates
from .policy import MemoryPolicy, Observation, PolicyState, Sighting, require_at_least_one
from .rivals import rival_overlaps
from .selection import ALL_CONDITIONING_FRAMES, SpatialMemory

if TYPE_CHECKING:
    from ...configuration_sam2 import Sam2VideoConfig
    from .history import History

PolicyT = TypeVar("PolicyT", bound="DistractorAwareMemory")


@dataclass(frozen=True)
class DistractorAwareMemory(MemoryPolicy):
    """Reads frames that resolve distractors, and recent frames that show the object, a few frames apart.

    A frame resolves a distractor where the mask that was taken is trusted and another candidate covers something else
    as well. It conditions the object from then on. Of these and the prompted frames, `max_cond_frame_num` are read: the
    first, the last, and the closest others. They and the recent memories share `num_maskmem` slots.

    Attributes:
        stride: recent memories besides the newest have indices that are multiples of it.
        resolving_iou: the estimated IoU above which a mask is trusted.
        resolving_area: how far the area of a trusted mask may be from the median of the last ones, as a part of it.
        areas: how many areas the median is of.
        resolving_gap: frames between two that resolve distractors, at least.
        rival_overlap: the IoU of the boxes of the mask with and without a rival, up to which there is a distractor.
    """

    max_cond_frame_num: int = 4
    stride: int = 5
    resolving_iou: float = 0.8
    resolving_area: float = 0.2
    areas: int = 10
    resolving_gap: int = 5
    rival_overlap: float = 0.7

    reads_visibility: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stride", "areas"):
            require_at_least_one(name, getattr(self, name))

    @classmethod
    def from_config(cls: type[PolicyT], config: Sam2VideoConfig) -> PolicyT:
        """Make the policy with the numbers of a model's configuration, or its own limit where that has none."""
        policy = super().from_config(config)
        limit = cls.max_cond_frame_num if policy.max_cond_frame_num == ALL_CONDITIONING_FRAMES else None
        return policy if limit is None else replace(policy, max_cond_frame_num=limit)

    # What is read

    def read_conditioning(self, conditioning: Collection[int], frame: int, reverse: bool) -> list[int]:
        """The first, the last one passed before the neighbour, and the closest others without the neighbour."""
        if not conditioning or self.max_cond_frame_num == ALL_CONDITIONING_FRAMES:
            return sorted(conditioning)
        direction = -1 if reverse else 1
        neighbour, first = frame - direction, min(conditioning, key=lambda other: other * direction)
        passed = [other for other in conditioning if (neighbour - other) * direction > 0]
        last = max(passed, key=lambda other: other * direction, default=first)
        others = [other for other in conditioning if other not in (neighbour, first, last)]
        others.sort(key=lambda other: abs(other - frame))
        chosen = list(dict.fromkeys([first, last, *others]))
        return sorted(chosen[: self.max_cond_frame_num])

    def retained_conditioning(self, passed: Collection[int], reverse: bool) -> set[int]:
        """The first and the last ones, one more than are read, for the next frame leaves out its neighbour."""
        if self.max_cond_frame_num == ALL_CONDITIONING_FRAMES:
            return set(passed)
        ordered = sorted(passed, reverse=reverse)
        return {*ordered[:1], *ordered[-self.max_cond_frame_num - 1 :]}

    def recent_memories(self, history: History, frame: int, reverse: bool) -> list[SpatialMemory]:
        """Slots of the newest visible frame and of visible ones on multiples of the stride before it, oldest first."""
        direction = -1 if reverse else 1
        conditioning = history.conditioning_for(frame, reverse)
        chosen = self.read_conditioning(conditioning, frame, reverse)
        count, neighbour = self.num_maskmem - max(len(chosen), 1), frame - direction
        newest = [neighbour] if neighbour not in chosen and history.visible_among([neighbour]) else []
        newest = newest or self._visible(history, conditioning, frame, 1, reverse, step=1)
        if not newest or count < 1:
            return []
        spaced = self._visible(history, conditioning, newest[0], count - 1, reverse, self.stride)
        slots = [*newest, *spaced]
        return [SpatialMemory(slots[age], age) for age in range(len(slots) - 1, -1, -1)]

    def readable_memories(self, history: History, frame: int, reverse: bool) -> list[int]:
        """The newest visible frame, and a full window of those on multiples of the stride."""
        following = frame - 1 if reverse else frame + 1
        conditioning = history.conditioning_for(following, reverse)
        newest = self._visible(history, conditioning, following, 1, reverse, step=1)
        return newest + self._visible(history, conditioning, following, self.num_maskmem, reverse, self.stride)

    def readable_pointers(self, history: History, frames: Collection[int]) -> set[int]:
        """Those of frames that show the object."""
        return history.visible_among(frames)

    def _visible(
        self, history: History, conditioning: Collection[int], frame: int, count: int, reverse: bool, step: int
    ) -> list[int]:
        """The last visible frames that do not condition, at most `count`, the nearest first."""
        leave_out = set(conditioning)
        found = history.visible_before(frame, count + len(leave_out), reverse, step)
        return [other for other in found if other not in leave_out][:count]

    # What is promoted

    def new_state(self) -> PolicyState:
        """The areas of the last visible masks, the number of masks so far, and the last frame that was promoted."""
        return {"areas": [], "frames": 0, "promoted": None}

    def measure(self, states: Sequence[PolicyState], candidates: MaskCandidates, chosen: Array) -> Array:
        """The area of the mask, and the overlap that its nearest rival leaves; 1 where there is no rival."""
        visible = candidates.object_scores > 0
        taken = candidates.of_each(candidates.masks, chosen) > 0
        areas = taken.reshape(len(taken), -1).sum(-1) * visible * candidates.numbers([1.0])
        overlaps = self._overlaps(states, candidates, chosen, areas)
        return concatenate([areas[:, None], overlaps[:, None]], axis=-1)

    def _overlaps(
        self, states: Sequence[PolicyState], candidates: MaskCandidates, chosen: Array, areas: Array
    ) -> Array:
        """What rivals leave of the boxes, (N,) float32; 1 where that is known not to matter, without waiting."""
        masks, rows = candidates.masks > 0, list(range(len(states)))
        if masks.shape[1] == 1:
            return candidates.numbers([1.0] * len(rows))
        if not is_on_accelerator(masks):
            scores = candidates.of_each(candidates.ious, chosen).tolist()
            measured = zip(states, scores, areas.tolist(), strict=True)
            rows = [row for row, (state, score, area) in enumerate(measured) if self._is_usual(state, score, area)]
        one = candidates.numbers([1.0])
        if len(rows) == len(states):
            return rival_overlaps(masks, chosen) * one
        overlaps = candidates.numbers([1.0] * len(states))
        if rows:
            overlaps[rows] = rival_overlaps(masks[rows], chosen[rows]) * one
        return overlaps

    def observe(self, state: PolicyState, sighting: Sighting) -> Observation:
        """Promote a frame that resolves a distractor. A prompt starts the areas anew."""
        before = self.new_state() if sighting.is_prompted else state
        if not sighting.measured:
            return Observation(before)
        area, overlap = sighting.measured
        last = before["promoted"]
        promotes = (
            not sighting.is_prompted
            and overlap <= self.rival_overlap
            and self._is_usual(before, sighting.iou_score, area)
            and (last is None or abs(sighting.frame - last) > self.resolving_gap)
        )
        after = {
            "areas": self._areas(before, area),
            "frames": before["frames"] + 1,
            "promoted": sighting.frame if promotes else last,
        }
        return Observation(after, promotes, visible=area > 0)

    def _areas(self, state: PolicyState, area: float) -> list[float]:
        """The last areas, with that of a new mask if it is not empty."""
        return [*state["areas"], area][-self.areas :] if area > 0 else list(state["areas"])

    def _is_usual(self, state: PolicyState, iou_score: float, area: float) -> bool:
        """Whether a mask can be relied on, by its score and by its area beside the last ones."""
        if area <= 0 or iou_score <= self.resolving_iou or state["frames"] < 1:
            return False
        part = area / median(self._areas(state, area))
        return 1 - self.resolving_area <= part <= 1 + self.resolving_area
