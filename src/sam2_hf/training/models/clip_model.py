"""`Sam2VideoForTraining`: the video model as `Trainer` wants it, clips and labels in, a loss out."""

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
from ...inputs.images import resize_nearest
from ...modeling_sam2_video import Sam2VideoModel
from ...network.features import FrameFeatures
from ...network.losses import IGNORED_LABEL, LossWeights, mask_iou
from ..prompting.interaction import Interaction, InteractionPlan, evaluation_plan, plan_interaction
from .rollout import ClipRollout


@dataclass
class Sam2ClipOutput(ModelOutput):
    """What became of B clips with T frames and N objects.

    Args:
        loss: averaged over all predictions, differentiable.
        loss_terms: its terms without their weights: "focal", "dice", "iou", "object_score".
        mask_ious: the true IoU of the final masks, (B, N, T) at the decoder's resolution; 1 where an absent object has
            no mask, -100 for objects that only fill up the batch.
        visibility_correct: whether an object was judged present or absent rightly, (B, N, T), 1 or 0; -100 likewise.
    """

    loss: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None
    mask_ious: Tensor | None = None
    visibility_correct: Tensor | None = None


class Sam2VideoForTraining(Sam2VideoModel):
    """A `Sam2VideoModel` whose `forward` takes labelled clips, with a simulated person who prompts and corrects.

    The parameters are those of `Sam2VideoModel`, and so is what it saves: its checkpoints load as either. It still
    tracks: sessions and `propagate_in_video_iterator` work as always. With gradient checkpointing, what is kept for
    the backward pass is a frame's features, masks and memories, and the rest is computed again.

    `interaction` is how people act in training; `evaluation` is what happens to every clip otherwise.
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
        """Segments B clips of T frames, N objects in each, and says how wrong that was.

        Args:
            pixel_values: normalised frames (B, T, 3, H, W) of the configured size.
            labels: (B, T, N, H, W) of the same size: above 0 is the object, 0 is not, -100 is unknown. Objects that
                fill up the batch are -100 throughout.
            plan: what the person does; drawn from `interaction` in training, else `evaluation`.
            encoded: of the frames, B * T rows, where they are known already.

        The plan is drawn from torch's CPU generator: whoever seeds that, as `Trainer` does, repeats a training.
        Raises a `ValueError` for shapes that do not fit.
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
        """The features of any frame: of all frames in one batch, or one at a time where memory is dear."""
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
        """Frames are the pieces that are computed again. Doing so with the layers within them would double the work."""
        self._gradient_checkpointing_func = gradient_checkpointing_func
        self.gradient_checkpointing = enable

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Saves a `Sam2VideoModel`: that is what the weights are, and what everybody can load."""
        super().save_pretrained(save_directory, *args, **kwargs)
        self.config.architectures = [Sam2VideoModel.__name__]
        if kwargs.get("is_main_process", True):
            self.config.save_pretrained(save_directory)


def _by_frame(encoded: FrameFeatures, layout: tuple[int, ...]) -> Callable[[int], FrameFeatures]:
    """The features of any frame, from those of B * T frames, `layout` (B, T)."""
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
