"""What belongs together, taught to the image encoder of a model that starts from nothing: cheaper than by clicks alone.

A click teaches one object of an image, after a pass through the prompt encoder and the decoder. Here every place of
the image may be asked "which places belong to the same object as you?", dozens of them at once, of the encoder's
maps directly. The answer is a linear function of the finest map, as a mask of the decoder is; so the maps become what
the decoder needs, and the two small layers that do the asking are thrown away.

Source: embeddings in which the pixels of an instance lie together, as Fathi et al., "Semantic Instance Segmentation
via Deep Metric Learning" (arXiv 1703.10277), with the losses of SAM 2.

Axes: B images, N objects in each, S seeds (places that are asked) in each, h and w of the finest map, C its channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...inputs.images import resize_nearest
from ...network.features import FrameFeatures
from ...network.losses import IGNORED_LABEL, dice_loss, focal_loss
from ...network.mask_decoder import upscale
from .clip_model import Sam2ClipOutput, Sam2VideoForTraining


class PixelAffinityForTraining(nn.Module):
    """Trains the image encoder of a model, and the layers in which the decoder enlarges its map; or all of it, at once.

    Args:
        model: learns in place. What it computes otherwise is not touched.
        num_seeds: places of each image that are asked.
        clicked_objects: of each clip, so many objects are prompted and followed as well, drawn anew every time. The
            images are encoded once for both.

    With gradient checkpointing, what follows the image encoder is computed again; the encoder's layers are kept.
    """

    def __init__(self, model: Sam2VideoForTraining, num_seeds: int = 64, clicked_objects: int = 0):
        super().__init__()
        self.model, self.num_seeds, self.clicked_objects = model, num_seeds, clicked_objects
        width = model.config.mask_decoder_config.hidden_size
        self.num_channels = width // 8
        last = nn.Linear(width, self.num_channels + 1)
        self.question = nn.Sequential(nn.Linear(width + self.num_channels, width), nn.GELU(), last)
        # Nothing is asked at first: answers to random questions would shake an encoder that has learnt already.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def __getattr__(self, name: str) -> Any:
        # `Trainer` looks for one of these, and which one depends on its version.
        if name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
            return getattr(self.model, name)
        return super().__getattr__(name)

    def forward(self, pixel_values: Tensor, labels: Tensor) -> Sam2ClipOutput:
        """The loss of B clips, whose frames are taken as images; arguments as those of `Sam2VideoForTraining`.

        Where objects are clicked as well, it is the sum of both losses, and the terms are those of the clicks, beside
        "pixel_affinity".
        """
        encoded = self.model.encode_frame(pixel_values.flatten(0, 1))
        focal, dice = self._ask(encoded, labels.flatten(0, 1))
        weights = self.model.loss_weights
        loss = weights.focal * focal + weights.dice * dice
        if not self.clicked_objects:
            return Sam2ClipOutput(loss=loss, loss_terms={"focal": focal.detach(), "dice": dice.detach()})
        result = self.model(pixel_values, draw_objects(labels, self.clicked_objects), encoded=encoded)
        result.loss_terms["pixel_affinity"] = loss.detach()
        result.loss = result.loss + loss
        return result

    def _ask(self, encoded: FrameFeatures, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The focal and the dice loss of seeds on labels (B, N, H, W)."""
        finest, coarsest = self._maps(encoded)
        targets = shrink_labels(labels, (finest.shape[-2], finest.shape[-1]))
        objects, places = draw_seeds(targets, self.num_seeds)
        logits = self._answers(finest, coarsest, places)
        truth = targets.flatten(2).gather(1, objects[..., None].expand(-1, -1, targets[0, 0].numel()))
        truth = truth.unflatten(-1, targets.shape[-2:])
        foreground, known = (truth > 0).float(), (truth != IGNORED_LABEL).float()
        return focal_loss(logits, foreground, known).mean(), dice_loss(logits, foreground, known).mean()

    def _maps(self, features: FrameFeatures) -> tuple[Tensor, Tensor]:
        """The decoder's finest map, (B, C, h, w), as no prompt has touched it, and the encoder's coarsest one."""
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

    def _answers(self, finest: Tensor, coarsest: Tensor, places: Tensor) -> Tensor:
        """Logits (B, S, h, w) that places belong to the same object as the seeds, whose numbers are `places` (B, S)."""
        enlarged = F.interpolate(coarsest, size=finest.shape[-2:], mode="bilinear", align_corners=False)
        described = torch.cat((finest, enlarged.to(finest.dtype)), dim=1).flatten(2)
        seeds = described.gather(2, places[:, None].expand(-1, described.shape[1], -1))
        question = self.question(seeds.transpose(1, 2))
        logits = question[..., :-1] @ finest.flatten(2).to(question.dtype) + question[..., -1:]
        return logits.float().unflatten(-1, finest.shape[-2:])


def shrink_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (B, N, H, W) of a smaller size, which divides theirs: an object's is a place of which it has the half.

    A label at one pixel instead would stand off the place's centre, and teach the maps outlines that are half a pixel
    off. A place is unknown where the pixel at its centre is.
    """
    covered = F.adaptive_avg_pool2d((labels > 0).float(), size) >= 0.5
    unknown = resize_nearest(labels, size) == IGNORED_LABEL
    return covered.to(labels.dtype).masked_fill(unknown, IGNORED_LABEL)


def draw_seeds(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Seeds on the objects of labels (B, N, h, w), each object as likely as the other, and each place of one as well.

    Returns the rows of their objects and the numbers of their places, both (B, count), from torch's CPU generator.
    """
    inside = (labels > 0).flatten(2).float()
    share = inside / inside.sum(dim=-1, keepdim=True).clamp(min=1)
    weights = share.flatten(1)
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights))
    drawn = torch.multinomial(weights.cpu(), count, replacement=True).to(labels.device)
    return drawn // inside.shape[-1], drawn % inside.shape[-1]


def draw_objects(labels: Tensor, count: int) -> Tensor:
    """Up to `count` objects of each clip of labels (B, T, N, H, W), from torch's CPU generator.

    Of clips with fewer, those that only fill up the batch make up the number.
    """
    is_real = (labels != IGNORED_LABEL).flatten(3).any(dim=-1).any(dim=1)
    order = torch.rand(is_real.shape, device="cpu").to(labels.device) + is_real
    rows = order.topk(min(count, labels.shape[2]), dim=1).indices.sort(dim=1).values
    return labels.take_along_dim(rows[:, None, :, None, None], dim=2)
