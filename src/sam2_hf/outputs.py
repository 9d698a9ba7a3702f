"""What the models return."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class Sam2VisionEncoderOutput(ModelOutput):
    """Features of an image, B images.

    Args:
        last_hidden_state: the trunk's last map (B, H/32, W/32, C).
        pooler_output: None, as in transformers: SAM 2 pools nothing.
        hidden_states: on request, the patch embedding and every block's output (B, height, width, C).
        attentions: on request, every block's weights (B * windows, heads, queries, keys).
        fpn_hidden_states: maps of the pyramid (B, C, H/s, W/s), from high to low resolution, s = 4, 8, 16.
        fpn_position_encoding: sine encodings of the same shapes.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    # Always given; the default is there because ModelOutput allows no required field but the first.
    fpn_hidden_states: tuple[torch.Tensor, ...] = None  # type: ignore[assignment]
    fpn_position_encoding: tuple[torch.Tensor, ...] | None = None


@dataclass
class Sam2HieraDetModelOutput(ModelOutput):
    """Features of the trunk, B images.

    Args:
        last_hidden_state: the last stage's map (B, H/32, W/32, C).
        intermediate_hidden_states: each stage's last map (B, height, width, C), from high to low resolution.
        hidden_states: on request, the patch embedding and every block's output (B, height, width, C).
        attentions: on request, every block's weights (B * windows, heads, queries, keys).
    """

    last_hidden_state: torch.Tensor | None = None
    intermediate_hidden_states: tuple[torch.Tensor, ...] = None  # type: ignore[assignment]
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None

    @property
    def stages(self) -> tuple[torch.Tensor, ...]:
        """The maps of the stages, as every trunk gives them."""
        return self.intermediate_hidden_states


@dataclass
class Sam2ImageSegmentationOutput(ModelOutput):
    """Masks of P prompts on each of B images, M masks a prompt (three, or one with `multimask_output=False`).

    Args:
        loss: with `labels`, what to train on; see `segmentation_loss`.
        iou_scores: the model's own estimate of each mask's IoU, (B, P, M), between 0 and 1.
        pred_masks: logits (B, P, M, h, w) at a quarter of the input's resolution; above 0 is foreground. The
            processor's `post_process_masks` brings them to the image's size.
        object_score_logits: whether there is an object at all, (B, P, 1); above 0 means yes.
        image_embeddings: the features that the masks were decoded from, from high to low resolution; can be given
            back to `forward` in place of `pixel_values`.
        vision_hidden_states: on request, see `Sam2VisionEncoderOutput.hidden_states`.
        vision_attentions: on request, see `Sam2VisionEncoderOutput.attentions`.
        mask_decoder_attentions: on request, the weights with which tokens read the image, (B, P, heads, tokens,
            positions), one for each layer and the final one.
    """

    loss: torch.Tensor | None = None
    iou_scores: torch.Tensor | None = None
    pred_masks: torch.Tensor | None = None
    object_score_logits: torch.Tensor | None = None
    image_embeddings: list[torch.Tensor] | None = None
    vision_hidden_states: tuple[torch.Tensor, ...] | None = None
    vision_attentions: tuple[torch.Tensor, ...] | None = None
    mask_decoder_attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class Sam2VideoSegmentationOutput(ModelOutput):
    """One frame of a clip, N objects in the order of the session's `obj_ids`.

    Args:
        object_ids: the caller's ids, one for each row of the tensors.
        pred_masks: logits (N, 1, h, w) at a quarter of the input's resolution, float32; -1024 where there is no object.
        object_score_logits: whether the object is there, (N, 1); above 0 means yes.
        frame_idx: the frame's index in the clip.
        iou_scores: the model's own estimate of each mask's IoU, (N, 1); 1 for a mask given by the user, 0 where the
            object is not tracked. Last, as transformers' output does not have it.
    """

    # All are always there; the base class wants defaults.
    object_ids: list[Hashable] = None  # type: ignore[assignment]
    pred_masks: torch.Tensor = None  # type: ignore[assignment]
    object_score_logits: torch.Tensor = None  # type: ignore[assignment]
    frame_idx: int = None  # type: ignore[assignment]
    iou_scores: torch.Tensor = None  # type: ignore[assignment]
