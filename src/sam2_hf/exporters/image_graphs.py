"""The image side as modules of tensors alone, one for each graph.

The modules hold a model and call its methods: what the network has a method for is not computed here again. Axes:
B images, P prompts of an image, K points, C channels, h and w the coarsest map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..prompt_values import PAD_VALUE

if TYPE_CHECKING:
    from ..network.promptable_network import Sam2PromptableNetwork


class VisionEncoderGraph(nn.Module):
    """Images (B, 3, H, W) to the three maps as the decoder reads them.

    `for_video` adds the coarsest map without the no-memory embedding, which the memory parts read.
    """

    def __init__(self, model: Sam2PromptableNetwork, for_video: bool):
        super().__init__()
        self.model, self.for_video = model, for_video

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        maps = self.model.encode_maps(pixel_values)
        embeddings = self.model.add_no_memory(maps)
        return (*embeddings, maps[-1]) if self.for_video else tuple(embeddings)


class PromptDecoderGraph(nn.Module):
    """Prompts on images to masks and scores: the three multimask outputs, and the single mask.

    A graph has the same inputs whatever the prompts are, so the labels say how many prompts there are. Without points K
    is 0, without boxes their second axis is.
    """

    def __init__(self, model: Sam2PromptableNetwork):
        super().__init__()
        self.model = model

    def forward(
        self,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor,
        finest: Tensor,
        middle: Tensor,
        coarsest: Tensor,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """`points` (B, P, K, 2) with `labels` (B, P, K), `boxes` (B, P or 0, 4), the three maps, `masks` (B, P, h, w).

        Returns IoU scores (B, P, 3), logits (B, P, 3, h, w), object scores (B, P, 1), and the IoU score and the logits
        of the single mask.
        """
        model = self.model
        share_axis(0, points, labels, boxes, finest, middle, coarsest)
        share_axis(1, labels, *(() if masks is None else (masks,)))
        share_axis(2, labels, points)
        count = labels.shape[1]
        decoded = model.decode(coarsest, rows_of_prompts(points, count), labels, rows_of_prompts(boxes, count), masks)
        logits = model.mask_decoder.masks(decoded, (finest, middle))
        single, single_score = model.mask_decoder.single_of(logits, decoded.iou_scores)
        return decoded.iou_scores[:, :, 1:], logits[:, :, 1:], decoded.object_score_logits, single_score, single


class MaskPromptDecoderGraph(PromptDecoderGraph):
    """The same with a mask prompt for every prompt."""

    def forward(  # type: ignore[override]  # the order of a graph's inputs: the mask beside the other prompts
        self,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor,
        masks: Tensor,
        finest: Tensor,
        middle: Tensor,
        coarsest: Tensor,
    ) -> tuple[Tensor, ...]:
        return super().forward(points, labels, boxes, finest, middle, coarsest, masks)


def share_axis(axis: int, *tensors: Tensor) -> None:
    """Compare the lengths of an axis, so that it is one variable from here on to whoever records.

    Raises:
        ValueError: if they differ.
    """
    for tensor in tensors[1:]:
        if tensor.shape[axis] != tensors[0].shape[axis]:
            raise ValueError(f"axis {axis} must be equally long, got {[tuple(each.shape) for each in tensors]}")


def rows_of_prompts(given: Tensor, count: int, value: int = PAD_VALUE) -> Tensor:
    """One row for each of `count` prompts, (B, count, ...): those that are given, and padding for the rest.

    Whoever has no boxes gives none, and whoever has no points gives as many rows as he likes.
    """
    padding = given.new_full((1, 1, *given.shape[2:]), value).expand(given.shape[0], count, *given.shape[2:])
    return torch.cat((given, padding), dim=1)[:, :count]
