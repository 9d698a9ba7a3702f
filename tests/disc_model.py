"""A model whose answers are known: every click gets discs around it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import torch

SIZE = 64  # of the input; masks are a quarter of it
LOW = SIZE // 4


class DecodedDiscs(NamedTuple):
    iou_scores: torch.Tensor
    object_score_logits: torch.Tensor
    mask_tokens: torch.Tensor
    image_hidden: torch.Tensor


class DiscModel:
    """Mask 1, 2 and 3 of a click at (x, y) of the input are discs around it, of growing radius; mask 0 is as mask 1.

    Scores are `scores` for all clicks. What was asked for is counted.
    """

    config = SimpleNamespace(hf_device_map=None)
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, radii=(1.5, 2.5, 4.0), scores=(0.9, 0.95, 0.92, 0.9), steepness=20.0):
        self.radii = torch.tensor([radii[0], *radii])
        self.scores = torch.tensor(scores)
        self.steepness = steepness
        self.encoded, self.decoded, self.upscaled = [], [], []
        self.mask_decoder = self

    def get_image_embeddings(self, pixel_values):
        self.encoded.append(tuple(pixel_values.shape))
        return [pixel_values.new_zeros(len(pixel_values), 1, LOW, LOW)]

    def decode_prompts(self, image_embeddings, input_points, input_labels, input_masks=None):
        assert len(image_embeddings[-1]) == 1
        assert (input_labels == 1).all()
        batch, prompts = input_points.shape[:2]
        self.decoded.append(prompts)
        scores = self.scores.expand(batch, prompts, 4)
        return DecodedDiscs(scores, scores[..., :1], input_points.expand(-1, -1, 4, -1), input_points)

    def upscale_masks(self, decoded, image_embeddings, selection):
        self.upscaled.append(int(selection.sum()))
        centres, radii = decoded.mask_tokens[selection], self.radii.expand(selection.shape)[selection]
        cells = torch.arange(LOW) + 0.5
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        distance = torch.hypot(x - centres[:, 0, None, None] / 4, y - centres[:, 1, None, None] / 4)
        return self.steepness * (radii[:, None, None] - distance)

    def single_mask(self, decoded, image_embeddings):
        first = torch.zeros(decoded.iou_scores.shape, dtype=torch.bool)
        first[..., 0] = True
        logits = self.upscale_masks(decoded, image_embeddings, first)
        return logits[None, :, None], decoded.iou_scores[..., :1]
