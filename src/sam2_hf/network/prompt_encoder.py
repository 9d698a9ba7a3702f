"""Prompts to embeddings: points and boxes become tokens, masks become a map over the image.

Coordinates are (x, y) in pixels of the model's input; a pixel's centre lies at +0.5.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.utils.generic import maybe_autocast

from ..configuration_sam2 import Sam2PromptEncoderConfig
from ..prompt_values import BOX_CORNER_LABELS, NOT_A_POINT_LABEL, PAD_VALUE
from ..sizes import read_size
from .layers import LayerNorm2d, is_traced


class PromptEmbeddings(NamedTuple):
    """`tokens` (B, P, N, C); `dense` (B or 1, P or 1, C, h, w), added to the image; `is_token` (B, P, N), False where
    a token is padding, and `is_object` (B, P), False where all of a prompt is. The last two are None without padding.
    """

    tokens: torch.Tensor
    dense: torch.Tensor
    is_token: torch.Tensor | None
    is_object: torch.Tensor | None

    def to(self, device: torch.device) -> PromptEmbeddings:
        """The same embeddings on another device."""
        is_token = None if self.is_token is None else self.is_token.to(device)
        is_object = None if self.is_object is None else self.is_object.to(device)
        return PromptEmbeddings(self.tokens.to(device), self.dense.to(device), is_token, is_object)


class PositionalEmbedding(nn.Module):
    """Random Fourier features of coordinates in [0, 1] (arXiv 2006.10739); the Gaussian matrix is a fixed buffer."""

    def __init__(self, config: Sam2PromptEncoderConfig):
        super().__init__()
        self.scale = config.scale
        self.positional_embedding: torch.Tensor
        self.register_buffer("positional_embedding", config.scale * torch.randn(2, config.hidden_size // 2))

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws the matrix anew."""
        init.normal_(self.positional_embedding, std=self.scale)

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """(..., 2) as (x, y) to (..., C), in the buffer's dtype.

        The angles are taken in float32, under autocast as well: in bfloat16, neighbouring positions would fall
        together.
        """
        with maybe_autocast(coordinates.device.type, enabled=False):
            angles = (2 * coordinates.float() - 1) @ self.positional_embedding.float() * (2 * math.pi)
        return torch.cat((angles.sin(), angles.cos()), dim=-1).to(self.positional_embedding.dtype)

    def grid(self, size: tuple[int, int]) -> torch.Tensor:
        """Features of the centres of a map of `size` (h, w): (1, C, h, w)."""
        height, width = size
        device = self.positional_embedding.device
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return self(centres).permute(2, 0, 1).unsqueeze(0)


class MaskEmbedding(nn.Module):
    """Three convolutions from mask logits (n, 1, 4h, 4w) to a map (n, C, h, w)."""

    def __init__(self, config: Sam2PromptEncoderConfig):
        super().__init__()
        wide, narrow = config.mask_input_channels, config.mask_input_channels // 4
        self.conv1 = nn.Conv2d(1, narrow, kernel_size=2, stride=2)
        self.layer_norm1 = LayerNorm2d(narrow, eps=config.layer_norm_eps)
        self.conv2 = nn.Conv2d(narrow, wide, kernel_size=2, stride=2)
        self.layer_norm2 = LayerNorm2d(wide, eps=config.layer_norm_eps)
        self.conv3 = nn.Conv2d(wide, config.hidden_size, kernel_size=1)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        hidden = self.activation(self.layer_norm1(self.conv1(masks)))
        return self.conv3(self.activation(self.layer_norm2(self.conv2(hidden))))


class PromptEncoder(nn.Module):
    """Embeds the points, the box and the mask of every prompt.

    The model calls `encode`, which also tells padding; the module itself is called as in transformers.
    """

    image_size: tuple[int, int]
    image_embedding_size: tuple[int, int]
    mask_input_size: tuple[int, ...]

    def __init__(self, config: Sam2PromptEncoderConfig):
        super().__init__()
        self.hidden_size = config.hidden_size
        self.image_size = read_size(config.image_size, "image_size")
        self.input_image_size = config.image_size
        self.image_embedding_size = config.image_embedding_size
        self.mask_input_size = tuple(4 * side for side in config.image_embedding_size)
        self.shared_embedding = PositionalEmbedding(config)
        self.mask_embed = MaskEmbedding(config)
        self.no_mask_embed = nn.Embedding(1, config.hidden_size)
        # Rows: background point, foreground point, a box's upper left and its lower right corner.
        self.point_embed = nn.Embedding(config.num_point_embeddings, config.hidden_size)
        self.not_a_point_embed = nn.Embedding(1, config.hidden_size)

    def forward(
        self,
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Embeds P prompts on each of B images, as transformers' prompt encoder does.

        Args:
            input_points: (B, P, N, 2) as (x, y) in pixels of the model's input.
            input_labels: (B, P, N), all foreground if left out.
            input_boxes: (B, P, 4) as (left, top, right, bottom).
            input_masks: logits (B, P or 1, any h, any w).

        Returns:
            The tokens (B, P, N, C), None if there are neither points nor boxes, and the dense embedding (B, C, h, w);
            of several masks on an image, (B, P, C, h, w).
        """
        has_tokens = input_points is not None or input_boxes is not None
        prompts = self.encode(input_points, input_labels, input_boxes, input_masks, may_have_padding=False)
        dense = prompts.dense.expand(len(prompts.tokens), -1, -1, *self.image_embedding_size)
        return prompts.tokens if has_tokens else None, dense.squeeze(1) if dense.shape[1] == 1 else dense

    def encode(
        self,
        points: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        masks: torch.Tensor | None = None,
        batch: int = 1,
        may_have_padding: bool = True,
    ) -> PromptEmbeddings:
        """Embeds P prompts on each of B images.

        Args:
            points: (B, P, N, 2) as (x, y) in pixels of the model's input.
            labels: (B, P, N): 1 foreground, 0 background, 2 and 3 a box's corners, -1 no point, -10 padding. All
                foreground if left out.
            boxes: (B, P, 4) as (left, top, right, bottom); four times -10 is padding.
            masks: logits (B, P or 1, any h, any w).
            batch: B, where there are neither points nor boxes nor masks.
            may_have_padding: False spares looking for padding, for which a GPU must be waited for.
        """
        may_have_padding = may_have_padding and (points is not None or boxes is not None)
        points, labels = self.as_points(points, labels, boxes, masks, batch)
        # Every list of points ends in one that is no point.
        coordinates, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=NOT_A_POINT_LABEL)
        is_token = is_object = None
        if is_traced() or (may_have_padding and bool((labels == PAD_VALUE).any())):
            is_token = labels != PAD_VALUE
            is_object = is_token[..., :-1].any(dim=-1) if masks is None else None
        return PromptEmbeddings(self._embed(coordinates, labels), self._dense(masks), is_token, is_object)

    def as_points(
        self,
        points: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        masks: torch.Tensor | None = None,
        batch: int = 1,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Points and boxes as points alone, (B, P, N, 2) and labels (B, P, N): a box is two corners, which come last.

        A mask alone, or nothing, is one point with the label -1. Arguments as those of `encode`.
        """
        if points is None and boxes is None:
            shape = (batch, 1, 1) if masks is None else (*masks.shape[:2], 1)
            points = self.no_mask_embed.weight.new_zeros((*shape, 2), dtype=torch.float32)
            return points, torch.full(shape, NOT_A_POINT_LABEL, device=points.device)
        lists = []
        if points is not None:
            kinds = torch.ones_like(points[..., 0], dtype=torch.long) if labels is None else labels.long()
            lists.append((points.float(), kinds))
        if boxes is not None:
            corners = boxes.float().unflatten(-1, (2, 2))
            kinds = torch.tensor(BOX_CORNER_LABELS, device=boxes.device).expand(corners.shape[:-1])
            padding = (boxes == PAD_VALUE).all(dim=-1, keepdim=True)
            lists.append((corners, kinds.masked_fill(padding, PAD_VALUE)))
        if len(lists) == 1:
            return lists[0]
        (points, labels), (corners, kinds) = lists
        return torch.cat((points, corners), dim=2), torch.cat((labels, kinds), dim=2)

    @staticmethod
    def fill_up(points: torch.Tensor, labels: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, P, N, 2) and labels (B, P, N) with padding at the end, so that every prompt has `count` points."""
        missing = count - labels.shape[2]
        return F.pad(points, (0, 0, 0, missing)), F.pad(labels, (0, missing), value=PAD_VALUE)

    def _embed(self, coordinates: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, P, N, 2) and labels to tokens (B, P, N, C)."""
        height, width = self.image_size
        x, y = (coordinates + 0.5).unbind(-1)
        relative = torch.stack((x / width, y / height), dim=-1)
        placed = self.shared_embedding(relative) + self.point_embed(labels.clamp(min=0))
        tokens = torch.where((labels >= 0).unsqueeze(-1), placed, self.not_a_point_embed.weight)
        return tokens.masked_fill((labels == PAD_VALUE).unsqueeze(-1), 0.0)

    def _dense(self, masks: torch.Tensor | None) -> torch.Tensor:
        if masks is None:
            return self.no_mask_embed.weight[:, None, :, None, None]
        dtype = self.no_mask_embed.weight.dtype
        if tuple(masks.shape[-2:]) != self.mask_input_size:
            masks = F.interpolate(masks.float(), size=self.mask_input_size, mode="bilinear", antialias=True)
        embedded = self.mask_embed(masks.to(dtype).flatten(0, 1).unsqueeze(1))
        return embedded.unflatten(0, tuple(masks.shape[:2]))
