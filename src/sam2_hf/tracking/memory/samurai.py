"""The policy of SAMURAI: masks that fit the motion of the object, and memories of frames where they did.

Source: Yang et al., "SAMURAI: Adapting Segment Anything Model for Zero-Shot Visual Tracking with Motion-Aware Memory"
(arXiv 2411.11922). The state is of each object, where the authors' code has one filter for all. An empty mask measures
no motion: it starts the filter anew, where the authors' code takes it for a box in the corner of the image. Boxes are
those of the decoder's masks, where that takes masks of the model's input size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...arrays import Array
from .candidates import MaskCandidates, box_ious
from .kalman import Box, Motion, Quantity, box_of, predict, start, update
from .policy import Observation, PolicyState, Sighting, require_at_least_one
from .visible import VisibleMemory

NO_BOX = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class SamuraiMemory(VisibleMemory):
    """Chooses masks by their estimated IoU and by a Kalman filter, and reads frames in which both were good.

    The filter follows the box of an object, from the first frame that predicts its mask or from a prompt. After
    `stable_frames` frames in a row in which the estimated IoU is above `stable_iou`, its prediction has a say.

    Attributes:
        motion_weight: the weight of the prediction in the choice: 0.15 for large models, 0.25 for others.
        stable_frames: frames in a row before the prediction counts.
        stable_iou: the estimated IoU above which a frame counts as one of them.
        memory_iou: the estimated IoU above which a frame is read as a recent memory.
        memory_motion: the IoU of the predicted box above which it is, where the prediction counts.
    """

    motion_weight: float = 0.25
    stable_frames: int = 15
    stable_iou: float = 0.3
    memory_iou: float = 0.5
    memory_motion: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_one("stable_frames", self.stable_frames)
        if not 0 <= self.motion_weight <= 1:
            raise ValueError(f"motion_weight must be from 0 to 1, got {self.motion_weight!r}")

    def new_state(self) -> PolicyState:
        """No motion yet: `stable` counts the frames in a row, `motion` is the filter."""
        return {"stable": 0, "motion": None}

    def choose(self, states: Sequence[PolicyState], candidates: MaskCandidates) -> Array:
        """Weigh the IoU with the predicted box against the estimated IoU, where the motion is stable."""
        weights = [self.motion_weight if self._is_stable(state) else 0.0 for state in states]
        if not any(weights):
            return candidates.ious.argmax(-1)
        predicted = candidates.numbers([self._predicted_box(state) for state in states])
        visible = (candidates.object_scores > 0)[:, None]
        fit = box_ious(candidates.boxes, predicted[:, None]) * visible
        weight = candidates.numbers(weights)[:, None]
        return (weight * fit + (1 - weight) * candidates.ious).argmax(-1)

    def measure(self, states: Sequence[PolicyState], candidates: MaskCandidates, chosen: Array) -> Array:
        """The box of the chosen mask."""
        return candidates.of_each(candidates.boxes, chosen) * candidates.numbers([1.0])

    def observe(self, state: PolicyState, sighting: Sighting) -> Observation:
        """Follow the box, and count the frame as one to be read if its scores are good."""
        before = self.new_state() if sighting.is_prompted else state
        box = _box_of(sighting)
        fit = None
        if box is not None and self._is_stable(before):
            fit = _box_iou(self._predicted_box(before), box)
        readable = sighting.object_score > 0 and sighting.iou_score > self.memory_iou
        readable = readable and (fit is None or fit > self.memory_motion)
        return Observation(self._followed(before, sighting, box), visible=readable)

    def _is_stable(self, state: PolicyState) -> bool:
        return state["motion"] is not None and state["stable"] >= self.stable_frames

    def _predicted_box(self, state: PolicyState) -> Box:
        return box_of(predict(_motion(state))) if self._is_stable(state) else NO_BOX

    def _followed(self, state: PolicyState, sighting: Sighting, box: Box | None) -> PolicyState:
        """The state after a frame. A given mask, whose box is not measured, starts anew, and so does an empty one."""
        if box is None:
            return self.new_state()
        if state["motion"] is None or state["stable"] == 0:
            return _state(1, start(box))
        predicted = predict(_motion(state))
        if sighting.iou_score <= self.stable_iou:
            return _state(0, predicted)
        return _state(min(state["stable"] + 1, self.stable_frames), update(predicted, box))


def _box_of(sighting: Sighting) -> Box | None:
    """The box of the mask; None where there is none."""
    if not sighting.measured or sighting.object_score <= 0:
        return None
    left, top, right, bottom = sighting.measured
    return None if right <= left or bottom <= top else (left, top, right, bottom)


def _motion(state: PolicyState) -> Motion:
    return tuple(Quantity(*values) for values in state["motion"])


def _state(stable: int, motion: Motion) -> PolicyState:
    return {"stable": stable, "motion": [list(quantity) for quantity in motion]}


def _box_iou(box: Box, other: Box) -> float:
    sides = [max(0.0, min(box[axis + 2], other[axis + 2]) - max(box[axis], other[axis])) for axis in (0, 1)]
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (box, other)]
    union = sum(areas) - sides[0] * sides[1]
    return sides[0] * sides[1] / union if union > 0 else 0.0
