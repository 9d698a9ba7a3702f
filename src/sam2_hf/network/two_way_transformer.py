"""The two-way transformer: prompts and image inform each other.

Axes: B images, P prompts of an image, N tokens, C channels.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_sam2 import Sam2MaskDecoderConfig
from .layers import FeedForward, PromptAttention, replaceable


class ImageAttention(PromptAttention):
    """Attention between a prompt's tokens and the image, in either direction."""


class TwoWayAttentionBlock(GradientCheckpointingLayer):
    """Tokens read each other, then the image; an MLP; the image reads the tokens. Post-norm residuals."""

    def __init__(self, config: Sam2MaskDecoderConfig, is_first: bool):
        super().__init__()
        width = config.hidden_size
        self.is_first = is_first
        self.self_attn = PromptAttention(config, downsample_rate=1)
        self.layer_norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = ImageAttention(config)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, config.mlp_dim, width, num_layers=2)
        self.layer_norm3 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = ImageAttention(config)
        self.layer_norm4 = nn.LayerNorm(width)

    def forward(
        self,
        tokens: torch.Tensor,
        image: torch.Tensor,
        token_positions: torch.Tensor,
        image_positions: torch.Tensor,
        token_mask: torch.Tensor | None = None,
        image_bias: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """`tokens` (B, P, N, C); `image` (B, P or 1, h * w, C), one entry as long as it is the same for all prompts.

        `token_mask` (B, P, 1, N) is False where a token must not be read; `image_bias` broadcasts to the scores of
        the tokens on the image (B, P, N, h * w).
        """
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens, token_mask)[0]
        else:
            placed = tokens + token_positions
            tokens = tokens + self.self_attn(placed, placed, tokens, token_mask)[0]
        tokens = self.layer_norm1(tokens)

        placed_image = image + image_positions
        read, weights = self.cross_attn_token_to_image(
            tokens + token_positions, placed_image, image, image_bias, need_weights
        )
        tokens = self.layer_norm2(tokens + read)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        placed = tokens + token_positions
        image = image + self.cross_attn_image_to_token(placed_image, placed, tokens, token_mask)[0]
        return tokens, self.layer_norm4(image), weights


class TwoWayTransformer(nn.Module):
    """Blocks in which prompts and image inform each other, and a last look of the tokens at the image."""

    def __init__(self, config: Sam2MaskDecoderConfig):
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(config, is_first=index == 0) for index in range(config.num_hidden_layers)
        )
        self.final_attn_token_to_image = ImageAttention(config)
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size)

    @replaceable
    def forward(
        self,
        tokens: torch.Tensor,
        image: torch.Tensor,
        image_positions: torch.Tensor,
        token_mask: torch.Tensor | None = None,
        image_bias: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        """Shapes as in the blocks. Returns tokens, image and, if asked for, the tokens' weights on the image.

        `target_embedding` is added to the tokens before every block, as PerSAM does (arXiv 2305.03048), where the
        first sum also serves as the tokens' positions.
        """
        if target_embedding is not None:
            tokens = tokens + target_embedding
        positions, attentions = tokens, []
        for index, layer in enumerate(self.layers):
            if target_embedding is not None and index > 0:
                tokens = tokens + target_embedding
            tokens, image, weights = layer(
                tokens, image, positions, image_positions, token_mask, image_bias, need_weights
            )
            attentions.append(weights)
        read, weights = self.final_attn_token_to_image(
            tokens + positions, image + image_positions, image, need_weights=need_weights
        )
        attentions.append(weights)
        return self.layer_norm_final_attn(tokens + read), image, tuple(attentions) if need_weights else ()
