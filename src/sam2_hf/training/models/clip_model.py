"""`Sam2VideoForTraining`: the video model for `Trainer`, with clips and labels as inputs and a loss as output."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.utils import ModelOutput

from ...configuration_sam2 import Sam2VideoConfig
from ...inputs.resizing import resize_nearest
from ...modeling_sam2_video import Sam2VideoModel
from ...network.features import FrameFeatures
from ...network.losses import IGNORED_LABEL, LossWeights, mask_iou
from ..prompting.interaction import Interaction, InteractionPlan, evaluation_plan, plan_interaction
from .rollout import ClipRollout


@dataclass
class Sam2ClipOutput(ModelOutput):
    """Output for B clips with T frames and N objects.

    Attributes:
        loss: averaged over all predictions, differentiable.
        loss_terms: its terms without their weights: "focal", "dice", "iou", "object_score".
        mask_ious: the true IoU of the final masks, (B, N, T) at the decoder's resolution; 1 where an absent object has
            no mask, -100 for padding objects.
        visibility_correct: whether an object is rightly judged visible or not, (B, N, T), 1 or 0; -100 for padding
            objects.
    """

    loss: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None
    mask_ious: Tensor | None = None
    visibility_correct: Tensor | None = None


class Sam2VideoForTraining(Sam2VideoModel):
    """A `Sam2VideoModel` whose `forward` takes labelled clips, with simulated prompts and corrections.

    The parameters are those of `Sam2VideoModel`, and its checkpoints load as either class. Sessions and
    `propagate_in_video_iterator` work as in `Sam2VideoModel`. With gradient checkpointing, the features, masks and
    memories of each frame are kept for the backward pass, and the rest is computed again.

    Args:
        config: of the model.
        interaction: how prompts and corrections are drawn in training.
        evaluation: the prompts and corrections of every clip in evaluation; a click by default.
        loss_weights: of the terms of the loss.
    """

    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Any]

    def __init__(
        self,
        config: Sam2VideoConfig,
        interaction: Interaction | None = None,
        evaluation: InteractionPlan | None = None,
        loss_weights: LossWeights | None = None,
    ):
        super().__init__(config)
        self.interaction = interaction or Interaction()
        self.evaluation = evaluation or evaluation_plan()
        self.loss_weights = loss_weights or LossWeights()

    def forward(  # type: ignore[override]  # clips take the place of sessions
        self,
        pixel_values: Tensor,
        labels: Tensor,
        plan: InteractionPlan | None = None,
        encoded: FrameFeatures | None = None,
    ) -> Sam2ClipOutput:
        """Segment B clips of T frames, N objects in each, and compute the loss.

        The plan is drawn from torch's CPU generator: a training with the same seed, which `Trainer` sets, is the same.

        Args:
            pixel_values: normalised frames (B, T, 3, H, W) of the configured size.
            labels: (B, T, N, H, W) of the same size: above 0 is the object, 0 is not, -100 is unknown. Padding objects
                are -100 throughout.
            plan: prompts and corrections; by default drawn from `interaction` in training, else `evaluation`.
            encoded: features of the frames, B * T rows, where they are known already.

        Returns:
            Loss, its terms and the scores of the final masks.

        Raises:
            ValueError: for shapes that do not fit, and in training for a plan that leaves nothing to predict.
        """
        _check(pixel_values, labels)
        num_frames = pixel_values.shape[1]
        plan = plan or self._plan(num_frames)
        _check_plan(plan, num_frames, self.training)
        rollout = ClipRollout(self, labels, plan, self.loss_weights, self._call)
        features = self._encode_frames(pixel_values) if encoded is None else _by_frame(encoded, pixel_values.shape[:2])
        for frame in rollout.frames_in_order():
            rollout.step(frame, features(frame))
        return _output(rollout, labels)

    def _plan(self, num_frames: int) -> InteractionPlan:
        if not self.training:
            return self.evaluation
        seed = int(torch.randint(2**31, (1,), device="cpu"))
        return plan_interaction(self.interaction, num_frames, np.random.default_rng(seed))

    def _encode_frames(self, pixel_values: Tensor) -> Callable[[int], FrameFeatures]:
        """Give the features of any frame: encoded in one batch, or frame by frame with gradient checkpointing."""
        if self._recomputes():
            return lambda frame: self._call(self.encode_frame, pixel_values[:, frame])
        return _by_frame(self.encode_frame(pixel_values.flatten(0, 1)), pixel_values.shape[:2])

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._gradient_checkpointing_func(function, *args) if self._recomputes() else function(*args)

    def _recomputes(self) -> bool:
        return self.gradient_checkpointing and self.training and torch.is_grad_enabled()

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Callable[..., Any] = checkpoint, **kwargs: Any
    ) -> None:
        """Set gradient checkpointing by frame; by layer as well would double the work."""
        self._gradient_checkpointing_func = gradient_checkpointing_func
        self.gradient_checkpointing = enable

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Save a `Sam2VideoModel`, which other libraries can load; arguments as those of transformers."""
        super().save_pretrained(save_directory, *args, **kwargs)
        self.config.architectures = [Sam2VideoModel.__name__]
        if kwargs.get("is_main_process", True):
            self.config.save_pretrained(save_directory)


def _by_frame(encoded: FrameFeatures, layout: tuple[int, ...]) -> Callable[[int], FrameFeatures]:
    """Give the features of any frame, from those of B * T frames; `layout` is (B, T)."""
    maps = [level.unflatten(0, layout) for level in (*encoded.fine, encoded.coarsest)]
    return lambda frame: FrameFeatures((maps[0][:, frame], maps[1][:, frame]), maps[2][:, frame])


def _output(rollout: ClipRollout, labels: Tensor) -> Sam2ClipOutput:
    means = [torch.stack(terms).mean() for terms in zip(*rollout.losses, strict=True)]
    total, *terms = means or [labels.new_zeros((), dtype=torch.float32)] * 5
    ious, right = _scores(rollout, labels)
    names = ("focal", "dice", "iou", "object_score")
    return Sam2ClipOutput(
        loss=total,
        loss_terms={name: term.detach() for name, term in zip(names, terms, strict=True)},
        mask_ious=ious,
        visibility_correct=right,
    )


@torch.no_grad()
def _scores(rollout: ClipRollout, labels: Tensor) -> tuple[Tensor, Tensor]:
    results = [rollout.results[frame] for frame in range(labels.shape[1])]
    labels = labels.transpose(1, 2)  # (B, N, T, H, W)
    layout = labels.shape[:2]
    logits = torch.stack([result.logits.squeeze(1).unflatten(0, layout) for result in results], dim=2)
    score = torch.stack([result.object_score.squeeze(1).unflatten(0, layout) for result in results], dim=2)
    small = resize_nearest(labels, (logits.shape[-2], logits.shape[-1]))
    foreground, known = (small > 0).float(), (small != IGNORED_LABEL).float()
    has_neither = ((foreground + (logits > 0)) * known).flatten(-2).amax(dim=-1) == 0
    ious = mask_iou(logits, foreground, known).masked_fill(has_neither, 1.0)
    right = ((labels > 0).flatten(-2).any(dim=-1) == (score > 0)).float()
    fills_up = (labels == IGNORED_LABEL).flatten(-2).all(dim=-1)
    return ious.masked_fill(fills_up, IGNORED_LABEL), right.masked_fill(fills_up, IGNORED_LABEL)


def _check(pixel_values: Tensor, labels: Tensor) -> None:
    if pixel_values.ndim != 5:
        raise ValueError(
            f"pixel_values must be clips (batch, frames, 3, height, width), got the shape {tuple(pixel_values.shape)}"
        )
    batch, frames, _, height, width = pixel_values.shape
    shape = tuple(labels.shape)
    if labels.ndim != 5 or shape[:2] != (batch, frames) or shape[2] == 0 or shape[3:] != (height, width):
        raise ValueError(
            "labels must be (batch, frames, objects, height, width) to go with pixel_values, here "
            f"({batch}, {frames}, objects, {height}, {width}), got {shape}"
        )


def _check_plan(plan: InteractionPlan, num_frames: int, training: bool) -> None:
    if training and all(plan.first_frames.get(frame) == "mask" for frame in range(num_frames)):
        raise ValueError(
            f"plan gives the masks of all {num_frames} frames, so that nothing is predicted and there is nothing to "
            f"learn; got first_frames {plan.first_frames}"
        )
