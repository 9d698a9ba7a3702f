"""What belongs together, taught to the image encoder of a model that starts from nothing: cheaper than by clicks alone.

A click teaches one object of a picture, after a pass through the prompt encoder and the decoder. Here every place of
the picture may be asked "which places belong to the same object as you?", dozens of them at once, of the encoder's
maps directly. The answer is a linear function of the finest map, as a mask of the decoder is; so the maps become what
the decoder needs, and the two small layers that do the asking are thrown away.

Source: embeddings in which the pixels of an instance lie together, as Fathi et al., "Semantic Instance Segmentation
via Deep Metric Learning" (arXiv 1703.10277), with the losses of SAM 2.

Axes: B pictures, N objects in each, S seeds (places that are asked) in each, h and w of the finest map, C its channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..losses import IGNORED_LABEL, LossWeights, dice_loss, focal_loss
from ..mask_upscaling import upscale
from ..modeling_sam2_video import Sam2VideoModel
from ..pictures import resize_nearest
from .clip_model import Sam2ClipOutput


class GroupingForTraining(nn.Module):
    """Trains the image encoder of a model, and the layers in which the decoder enlarges its map.

    Args:
        model: learns in place. What it computes otherwise is not touched.
        num_seeds: places of each picture that are asked.
        loss_weights: those of "focal" and "dice" count.
    """

    def __init__(self, model: Sam2VideoModel, num_seeds: int = 64, loss_weights: LossWeights | None = None):
        super().__init__()
        self.model, self.num_seeds, self.loss_weights = model, num_seeds, loss_weights or LossWeights()
        width = model.config.mask_decoder_config.hidden_size
        narrow = width // 8
        self.question = nn.Sequential(nn.Linear(width + narrow, width), nn.GELU(), nn.Linear(width, narrow + 1))
        self.num_channels = narrow

    def forward(self, pixel_values: Tensor, labels: Tensor) -> Sam2ClipOutput:
        """The loss of B clips, whose frames are taken as pictures; arguments as those of `Sam2VideoForTraining`."""
        finest, coarsest = self._maps(pixel_values.flatten(0, 1))
        targets = resize_nearest(labels.flatten(0, 1), (finest.shape[-2], finest.shape[-1]))
        objects, places = draw_seeds(targets, self.num_seeds)
        logits = self._answers(finest, coarsest, places)
        truth = targets.flatten(2).gather(1, objects[..., None].expand(-1, -1, targets[0, 0].numel()))
        truth = truth.unflatten(-1, targets.shape[-2:])
        foreground, known = (truth > 0).float(), (truth != IGNORED_LABEL).float()
        focal = focal_loss(logits, foreground, known).mean()
        dice = dice_loss(logits, foreground, known).mean()
        loss = self.loss_weights.focal * focal + self.loss_weights.dice * dice
        return Sam2ClipOutput(loss=loss, loss_terms={"focal": focal.detach(), "dice": dice.detach()})

    def _maps(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's finest map, (B, C, h, w), as no prompt has touched it, and the encoder's coarsest one."""
        features, decoder = self.model.encode_frame(pictures), self.model.mask_decoder
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
