"""A batch of clips, frame after frame, with everything that later frames read kept for the backward pass.

Axes: B clips, N objects in each, K = B * N objects altogether, those of the first clip first; H and W the model's
input, h and w its feature map, C channels, D the memory's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...network.features import FrameFeatures
from ...network.losses import IGNORED_LABEL, LossWeights, SegmentationLoss, segmentation_loss
from ...network.mask_decoder import Candidates
from ...network.memory_tokens import MemoryTokens, build_memory
from ...network.video_network import ObjectMasks
from ...prompt_values import MASK_PROMPT_LIMIT
from ...tracking.batch import grouped, shared_rows
from ...tracking.memory.candidates import MaskCandidates
from ...tracking.memory.history import FrameSets
from ...tracking.memory.policy import Observation, PolicyState, Sighting
from ...tracking.memory.selection import MemorySelection
from ...tracking.policy_calls import consult
from ...tracking.prompts import PointPrompt
from ..prompting.clicks import correct, draw_box, first_click
from ..prompting.interaction import InteractionPlan, PromptKind
from .candidates import decode

if TYPE_CHECKING:
    from ...modeling_sam2_video import Sam2VideoModel


class Memory(NamedTuple):
    """What a frame leaves behind: `features` (K, D, h, w) and `pointer` (K, C)."""

    features: Tensor
    pointer: Tensor


class _View(NamedTuple):
    """A frame as K objects are looked for in it: its features, the embedding that the decoder reads, rows of one or the
    other for B clips or K objects; their labels (K, H, W); and whether memories are in the embedding."""

    features: FrameFeatures
    embedding: Tensor
    labels: Tensor
    reads_memory: bool


@dataclass
class ClipRollout:
    """One pass over a batch of clips.

    Attributes:
        model: does the work.
        labels: (B, T, N, H, W), above 0 the object, 0 not, -100 unknown.
        plan: what is prompted and corrected.
        weights: of the loss.
        call: how a piece of work is called, so that a caller can recompute it in the backward pass.
        losses: one for every prediction so far, of equal weight: that of a tracked frame, and each one between clicks.
        results: the final masks of every frame so far.
    """

    model: Sam2VideoModel
    labels: Tensor
    plan: InteractionPlan
    weights: LossWeights = field(default_factory=LossWeights)
    call: Callable[..., Any] = lambda function, *args: function(*args)
    losses: list[SegmentationLoss] = field(default_factory=list)
    results: dict[int, ObjectMasks] = field(default_factory=dict)
    _conditioning: dict[int, Memory] = field(default_factory=dict)
    _tracked: dict[int, Memory] = field(default_factory=dict)
    _observations: dict[int, list[Observation]] = field(default_factory=dict)

    def frames_in_order(self) -> list[int]:
        """The prompted frames first, for the others read them; then the others, in order of time."""
        first = self.plan.first_frames
        return sorted(range(self.labels.shape[1]), key=lambda frame: (frame not in first, frame))

    def step(self, frame: int, features: FrameFeatures) -> None:
        """Segments one frame; `features` are those of the B clips there."""
        kind = self.plan.first_frames.get(frame)
        labels = self.labels[:, frame].flatten(0, 1)
        measured = None
        if kind == "mask":
            result = self._take_masks(features, labels)
        else:
            result, measured = self._predict(frame, features, labels, kind)
        self.results[frame] = result
        self._observe(frame, result, measured)
        if frame != self.frames_in_order()[-1]:  # what comes last is read by nobody
            keep = self._conditioning if self._is_conditioning(frame) else self._tracked
            keep[frame] = Memory(self.call(self._remember, features, result, kind is not None), result.pointer)

    def _is_conditioning(self, frame: int) -> bool:
        corrected = frame in self.plan.corrected and self.model.config.add_all_frames_to_correct_as_cond
        return frame in self.plan.first_frames or corrected

    def _observe(self, frame: int, result: ObjectMasks, measured: Tensor | None) -> None:
        """Lets the memory policy take note of a frame, for every object. Waits for the device if the policy asks."""
        policy = self.model.memory_policy
        observes = policy.overrides("observe")
        if not observes and not policy.reads_visibility:
            return
        parts = [result.iou, result.object_score, *([] if measured is None else [measured])]
        rows = torch.cat([part.detach().float() for part in parts], dim=1).tolist()
        prompted = frame in self.plan.first_frames or frame in self.plan.corrected
        self._observations[frame] = []
        for state, (iou, score, *numbers) in zip(self._states(frame), rows, strict=True):
            seen = Observation(state)
            if observes:
                seen = policy.observe(state, Sighting(frame, iou, score, prompted, tuple(numbers)))
            visible = score > 0 if seen.visible is None else seen.visible
            self._observations[frame].append(seen._replace(visible=visible))

    def _states(self, frame: int) -> list[PolicyState]:
        """What the memory policy knows of the K objects when it comes to a frame."""
        before = self._observations.get(frame - 1)
        count = self.labels.shape[0] * self.labels.shape[2]
        return [self.model.memory_policy.new_state() if before is None else before[row].state for row in range(count)]

    def _predict(
        self, frame: int, features: FrameFeatures, labels: Tensor, kind: PromptKind | None
    ) -> tuple[ObjectMasks, Tensor | None]:
        """Segments from clicks, a box or memories, and then from one correction after the other.

        Also gives what the memory policy measured on the last masks.
        """
        truth, known = labels > 0, labels != IGNORED_LABEL
        view = self._look(frame, features, labels, reads_memory=kind is None)
        clicks = self._first_prompt(kind, truth, known)
        states = self._states(frame)
        result, measured = self._decode(view, clicks, states)
        for blind in self.plan.corrected.get(frame, ()):
            predicted = torch.zeros_like(truth) if blind else _enlarge(result.logits, labels) > 0
            correction = correct(truth, predicted, known, self.plan.where)
            clicks = correction if clicks is None else clicks.followed_by(correction)
            result, measured = self._decode(view, clicks, states, result.logits)
        return result, measured

    def _look(self, frame: int, features: FrameFeatures, labels: Tensor, reads_memory: bool) -> _View:
        if not reads_memory:
            return _View(features, self.model.without_memory(features), labels, False)
        features = _spread(features, self.labels.shape[2])
        return _View(features, self.call(self._condition, features, self._select(frame)), labels, True)

    def _first_prompt(self, kind: PromptKind | None, truth: Tensor, known: Tensor) -> PointPrompt | None:
        if kind == "click":
            return first_click(truth, known, self.plan.where)
        if kind == "box":
            return draw_box(truth) if self.plan.where == "uniform" else draw_box(truth, noise=0.0)
        return None

    def _decode(
        self,
        view: _View,
        clicks: PointPrompt | None,
        states: Sequence[PolicyState],
        previous_logits: Tensor | None = None,
    ) -> tuple[ObjectMasks, Tensor | None]:
        """One prediction, whose loss is taken down, and what the memory policy measured on it."""
        if previous_logits is not None:
            previous_logits = previous_logits.clamp(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)
        candidates, loss = self.call(self._decode_and_judge, view, clicks, previous_logits)
        self.losses.append(loss)
        chosen, measured = self._consult(candidates, states)
        return self.model.choose(candidates, chosen), measured

    def _consult(self, candidates: Candidates, states: Sequence[PolicyState]) -> tuple[Tensor | None, Tensor | None]:
        """Which candidates the memory policy takes, None for those with the best score, and what it measures."""
        policy = self.model.memory_policy
        if not policy.overrides("choose") and not policy.overrides("measure"):
            return None, None
        masks, ious, score, _ = (part.detach() for part in candidates)
        given = MaskCandidates(
            masks, ious, score[:, 0], lambda values, dtype: torch.tensor(values, dtype=getattr(torch, dtype)).to(masks)
        )
        return consult(policy, states, given)

    def _decode_and_judge(
        self, view: _View, clicks: PointPrompt | None, previous_logits: Tensor | None
    ) -> tuple[Candidates, SegmentationLoss]:
        num_points = 0 if clicks is None else clicks.points.shape[1]
        multimask = self.model.uses_multimask(num_points, view.reads_memory)
        candidates = decode(self.model, view.features, view.embedding, clicks, previous_logits, multimask)
        masks, ious, score, _ = candidates
        return candidates, segmentation_loss(masks, ious, score, view.labels, self.weights)

    def _take_masks(self, features: FrameFeatures, labels: Tensor) -> ObjectMasks:
        """The true masks as they are: there is nothing to predict, and so nothing to teach."""
        given = (labels > 0).unflatten(0, (len(features.coarsest), -1))
        each = [
            self.model.segment_from_masks(_clip(features, row), masks.unsqueeze(1)) for row, masks in enumerate(given)
        ]
        return ObjectMasks(*(torch.cat(parts) for parts in zip(*each, strict=True)))

    def _select(self, frame: int) -> list[MemorySelection]:
        """What each of the K objects reads."""
        policy = replace(self.model.memory_policy, past_pointers_only=not self.model.training)
        count = self.labels.shape[0] * self.labels.shape[2]
        if not self._observations:
            return [policy.select(FrameSets(self._conditioning, self._tracked), frame)] * count
        return [policy.select(self._history(row), frame) for row in range(count)]

    def _history(self, row: int) -> FrameSets:
        """The frames of one object, as the memory policy took note of them."""
        seen = {other: observations[row] for other, observations in self._observations.items()}
        promoted = [other for other in self._tracked if other in seen and seen[other].promotes]
        return FrameSets(
            [*self._conditioning, *promoted],
            self._tracked.keys() - set(promoted),
            {other for other in seen if seen[other].visible},
        )

    def _condition(self, features: FrameFeatures, selections: list[MemorySelection]) -> Tensor:
        """The embedding (K, C, h, w) as memories show it; the rows of `features` are the K objects', or one for all.

        Objects with equally many memories go together, as they do in a session.
        """
        rows = grouped(range(len(selections)), lambda row: len(selections[row].memories))
        parts = [
            self.model.condition_on_memory(_rows(features, group), self._gather(group, [selections[k] for k in group]))
            for group in rows
        ]
        if len(parts) == 1:
            return parts[0]
        order = [row for group in rows for row in group]
        return torch.cat(parts)[sorted(range(len(order)), key=order.__getitem__)]

    def _gather(self, rows: list[int], selections: list[MemorySelection]) -> MemoryTokens:
        """The memories that some objects read, equally many for each."""
        model, kept = self.model, {**self._tracked, **self._conditioning}
        # Taken apart once: for each row by itself, the backward pass would add up zeros of the whole batch's size.
        feature_rows = {frame: memory.features.unbind() for frame, memory in kept.items()}
        pointer_rows = {frame: memory.pointer.unbind() for frame, memory in kept.items()}
        read = list(zip(rows, selections, strict=True))
        maps = [torch.stack([feature_rows[slot.frame][row] for slot in chosen.memories]) for row, chosen in read]
        pointers = [[pointer_rows[slot.frame][row] for slot in chosen.pointers] for row, chosen in read]
        indices = shared_rows([[slot.temporal_index for slot in chosen.memories] for chosen in selections])
        distances = shared_rows([[slot.distance for slot in chosen.pointers] for chosen in selections])
        has_pointers = len(distances[0]) > 0
        return build_memory(
            features=torch.stack(maps),
            spatial_position=model.memory_position_encoding(),
            temporal_encoding=model.memory_temporal_positional_encoding[indices, 0, 0],
            pointers=torch.stack([torch.stack(row) for row in pointers]) if has_pointers else None,
            pointer_encoding=(
                model.pointer_time_encoding(torch.tensor(distances, device=self.labels.device), self.labels.shape[1])
                if has_pointers
                else None
            ),
        )

    def _remember(self, features: FrameFeatures, result: ObjectMasks, prompted: bool) -> Tensor:
        # A binarised mask has no gradient; the models were trained on soft ones and track with hard ones.
        certain = prompted and self.model.config.binarize_prompted_memory and not self.model.training
        binarize = torch.full((len(result.logits),), certain, device=result.logits.device)
        return self.model.encode_memory(features, result.logits, result.object_score, binarize)


def _spread(features: FrameFeatures, count: int) -> FrameFeatures:
    """Features of B clips as those of the `count` objects in each; of a single clip they stay one row for all."""
    if len(features.coarsest) == 1:
        return features
    fine = [level.repeat_interleave(count, dim=0) for level in features.fine]
    return FrameFeatures((fine[0], fine[1]), features.coarsest.repeat_interleave(count, dim=0))


def _rows(features: FrameFeatures, rows: list[int]) -> FrameFeatures:
    """The features of some objects; one row is that of all."""
    if len(features.coarsest) in (1, len(rows)):
        return features
    return FrameFeatures((features.fine[0][rows], features.fine[1][rows]), features.coarsest[rows])


def _clip(features: FrameFeatures, row: int) -> FrameFeatures:
    """The features of one clip."""
    fine = [level[row : row + 1] for level in features.fine]
    return FrameFeatures((fine[0], fine[1]), features.coarsest[row : row + 1])


def _enlarge(logits: Tensor, labels: Tensor) -> Tensor:
    """(K, 1, h, w) to the size of the labels, (K, H, W)."""
    return F.interpolate(logits.detach(), size=labels.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
