"""The image side with the names and axes of samexporter, which X-AnyLabeling and AnyLabeling read.

One image, P prompts of K points on it. A mask prompt is always there, with a flag that says whether it counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..prompt_values import BOX_CORNER_LABELS, MASK_PROMPT_LIMIT
from .graph import Graph, Value
from .image_graphs import VisionEncoderGraph, share_axis

if TYPE_CHECKING:
    from ..network.promptable_network import Sam2PromptableNetwork

NUM_MULTIMASK = 3


class SamexporterDecoderGraph(nn.Module):
    """Points, and masks where a flag says so, to the three multimask outputs and their scores."""

    def __init__(self, model: Sam2PromptableNetwork):
        super().__init__()
        self.model = model

    def forward(
        self,
        coarsest: Tensor,
        finest: Tensor,
        middle: Tensor,
        points: Tensor,
        labels: Tensor,
        masks: Tensor,
        has: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The maps of one image; `points` (P, K, 2) with `labels` (P, K) float; `masks` (P, 1, h, w); `has` (P,) float.

        Returns logits (P, 3, h, w), within the range in which they may be given back as `masks`, and scores (P, 3).
        """
        model = self.model
        share_axis(0, points, labels, masks, has)
        encoder, kinds = model.prompt_encoder, labels.unsqueeze(0).long()
        prompts = encoder.encode(points.unsqueeze(0), kinds)
        drawn = encoder.encode(points.unsqueeze(0), kinds, masks=masks.squeeze(1).unsqueeze(0)).dense
        dense = torch.where((has > 0).view(1, -1, 1, 1, 1), drawn, prompts.dense)
        positions = model.get_image_wide_positional_embeddings()
        decoded = model.mask_decoder.decode(coarsest, positions, prompts._replace(dense=dense))
        logits, scores = model.mask_decoder.multimasks(decoded, (finest, middle))
        return logits.squeeze(0).clamp(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT), scores.squeeze(0)


def samexporter_graphs(model: Sam2PromptableNetwork) -> list[Graph]:
    """List the encoder and the decoder.

    Args:
        model: an image or a video model, of which the image side is taken.
    """
    channels, (height, width) = model.hidden_dim, model.prompt_encoder.image_embedding_size
    size = model.prompt_encoder.mask_input_size
    image = Value("image", (1, 3, *model.prompt_encoder.image_size), is_map=True)
    finest = Value("high_res_feats_0", (1, channels // 8, 4 * height, 4 * width), is_map=True)
    middle = Value("high_res_feats_1", (1, channels // 4, 2 * height, 2 * width), is_map=True)
    coarsest = Value("image_embed", (1, channels, height, width), is_map=True)
    prompts = (
        Value("point_coords", ("prompts", "points", 2)),
        Value("point_labels", ("prompts", "points"), below=max(BOX_CORNER_LABELS) + 1),
        Value("mask_input", ("prompts", 1, *size)),
        Value("has_mask_input", ("prompts",)),
    )
    outputs = (Value("masks", ("prompts", NUM_MULTIMASK, *size)), Value("iou_predictions", ("prompts", NUM_MULTIMASK)))
    decoder = SamexporterDecoderGraph(model)
    return [
        Graph("encoder", VisionEncoderGraph(model, for_video=False), (image,), (finest, middle, coarsest)),
        Graph("decoder", decoder, (coarsest, finest, middle, *prompts), outputs),
    ]
