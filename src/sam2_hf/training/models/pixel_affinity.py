"""Pixel-affinity pretraining of the image encoder of a model with random weights.

A click trains one object of an image, through the prompt encoder and the decoder. Here, dozens of seed positions of an
image each predict which positions belong to the same object, directly from the maps of the encoder. The prediction is a
linear function of the finest map, as a mask of the decoder is, so the maps become what the decoder needs. The two small
layers of the prediction head are then discarded.

Source: embeddings in which the pixels of an instance lie together, as Fathi et al., "Semantic Instance Segmentation
via Deep Metric Learning" (arXiv 1703.10277), with the losses of SAM 2.

Axes: B images, N objects in each, S seed positions in each, h and w of the finest map, C its channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...inputs.resizing import resize_nearest
from ...network.features import FrameFeatures
from ...network.losses import IGNORED_LABEL, dice_loss, focal_loss
from ...network.mask_decoder import upscale
from .clip_model import Sam2ClipOutput, Sam2VideoForTraining


class PixelAffinityForTraining(nn.Module):
    """Trains the image encoder of a model and the layers that upsample its map in the decoder; or all of it, at once.

    With gradient checkpointing, everything after the image encoder is computed again; activations of the encoder are
    kept.

    Args:
        model: learns in place; its own outputs are unchanged.
        num_seeds: seed positions of each image.
        clicked_objects: so many objects of each clip are prompted and tracked as well, drawn anew every time. Images
            are encoded once for both.
    """

    def __init__(self, model: Sam2VideoForTraining, num_seeds: int = 64, clicked_objects: int = 0):
        super().__init__()
        self.model, self.num_seeds, self.clicked_objects = model, num_seeds, clicked_objects
        width = model.config.mask_decoder_config.hidden_size
        self.num_channels = width // 8
        last = nn.Linear(width, self.num_channels + 1)
        self.head = nn.Sequential(nn.Linear(width + self.num_channels, width), nn.GELU(), last)
        # Zeros at first: gradients of a random head would disturb an encoder that is trained already.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def __getattr__(self, name: str) -> Any:
        # `Trainer` looks for one of these, depending on its version.
        if name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
            return getattr(self.model, name)
        return super().__getattr__(name)

    def forward(self, pixel_values: Tensor, labels: Tensor) -> Sam2ClipOutput:
        """Compute the loss of B clips, whose frames are independent images.

        Args:
            pixel_values: as those of `Sam2VideoForTraining`.
            labels: likewise.

        Returns:
            The loss and its terms. Where objects are clicked as well, it is the sum of both losses, and the terms are
            those of the clicks, beside "pixel_affinity".
        """
        encoded = self.model.encode_frame(pixel_values.flatten(0, 1))
        focal, dice = self._affinity_loss(encoded, labels.flatten(0, 1))
        weights = self.model.loss_weights
        loss = weights.focal * focal + weights.dice * dice
        if not self.clicked_objects:
            return Sam2ClipOutput(loss=loss, loss_terms={"focal": focal.detach(), "dice": dice.detach()})
        result = self.model(pixel_values, draw_objects(labels, self.clicked_objects), encoded=encoded)
        result.loss_terms["pixel_affinity"] = loss.detach()
        result.loss = result.loss + loss
        return result

    def _affinity_loss(self, encoded: FrameFeatures, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the focal and the dice loss of seeds on labels (B, N, H, W)."""
        finest, coarsest = self._maps(encoded)
        targets = shrink_labels(labels, (finest.shape[-2], finest.shape[-1]))
        objects, positions = draw_seeds(targets, self.num_seeds)
        logits = self._predict(finest, coarsest, positions)
        truth = targets.flatten(2).gather(1, objects[..., None].expand(-1, -1, targets[0, 0].numel()))
        truth = truth.unflatten(-1, targets.shape[-2:])
        foreground, known = (truth > 0).float(), (truth != IGNORED_LABEL).float()
        return focal_loss(logits, foreground, known).mean(), dice_loss(logits, foreground, known).mean()

    def _maps(self, features: FrameFeatures) -> tuple[Tensor, Tensor]:
        """Compute the decoder's finest map without a prompt, (B, C, h, w), and the encoder's coarsest map."""
        decoder = self.model.mask_decoder
        embedding = self.model.without_memory(features)
        finest = upscale(
            embedding.movedim(1, -1),
            (features.fine[1], features.fine[0]),
            (decoder.upscale_conv1, decoder.upscale_conv2),
            decoder.upscale_layer_norm,
            torch.eye(self.num_channels, dtype=embedding.dtype, device=embedding.device),
        )
        return finest, embedding

    def _predict(self, finest: Tensor, coarsest: Tensor, positions: Tensor) -> Tensor:
        """Predict logits (B, S, h, w) that positions belong to the same object as the seeds at `positions` (B, S)."""
        upsampled = F.interpolate(coarsest, size=finest.shape[-2:], mode="bilinear", align_corners=False)
        described = torch.cat((finest, upsampled.to(finest.dtype)), dim=1).flatten(2)
        seeds = described.gather(2, positions[:, None].expand(-1, described.shape[1], -1))
        weights = self.head(seeds.transpose(1, 2))
        logits = weights[..., :-1] @ finest.flatten(2).to(weights.dtype) + weights[..., -1:]
        return logits.float().unflatten(-1, finest.shape[-2:])


def shrink_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Downsample labels: a position belongs to the object that covers half of it.

    The label of a single pixel instead would be off the centre, and train outlines that are half a pixel off. A
    position is unknown where the pixel at its centre is.

    Args:
        labels: (B, N, H, W).
        size: (h, w), which divides (H, W).

    Returns:
        Labels (B, N, h, w).
    """
    covered = F.adaptive_avg_pool2d((labels > 0).float(), size) >= 0.5
    unknown = resize_nearest(labels, size) == IGNORED_LABEL
    return covered.to(labels.dtype).masked_fill(unknown, IGNORED_LABEL)


def draw_seeds(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw seeds on objects from torch's CPU generator: objects with equal probability, and positions within one.

    Args:
        labels: (B, N, h, w).
        count: seeds of each image.

    Returns:
        Rows of their objects and their positions in reading order, both (B, count).
    """
    inside = (labels > 0).flatten(2).float()
    share = inside / inside.sum(dim=-1, keepdim=True).clamp(min=1)
    weights = share.flatten(1)
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights))
    drawn = torch.multinomial(weights.cpu(), count, replacement=True).to(labels.device)
    return drawn // inside.shape[-1], drawn % inside.shape[-1]


def draw_objects(labels: Tensor, count: int) -> Tensor:
    """Draw objects of each clip from torch's CPU generator; padding objects make up the number in clips with fewer.

    Args:
        labels: (B, T, N, H, W).
        count: at most so many.

    Returns:
        Their labels, in order.
    """
    is_real = (labels != IGNORED_LABEL).flatten(3).any(dim=-1).any(dim=1)
    order = torch.rand(is_real.shape, device="cpu").to(labels.device) + is_real
    rows = order.topk(min(count, labels.shape[2]), dim=1).indices.sort(dim=1).values
    return labels.take_along_dim(rows[:, None, :, None, None], dim=2)
