"""Embeddings to masks: the two-way transformer, scores from its tokens, masks from its image features.

The phases are apart, because scores are cheap and masks are not: `decode` gives tokens and scores, and only the
masks that a caller wants are upscaled afterwards. Axes: B images, P prompts of an image, N tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ..configuration_sam2 import Sam2MaskDecoderConfig
from ..fast.chunking import how_many_fit
from ..fast.dispatch import enabled as fast_paths_enabled
from ..fast.dispatch import may_read_weights
from ..fast.mask_upscaling import upscale, upscale_in_blocks
from .layers import FeedForward
from .prompt_encoder import PromptEmbeddings
from .two_way_transformer import TwoWayTransformer

# The logit of a mask, or of an object's presence, where there is nothing.
NO_OBJECT_LOGIT = -1024.0


class DecodedPrompts(NamedTuple):
    """Prompts after the two-way transformer, before any mask is made. Of the 4 masks, number 0 is the single-mask
    output and the others are the multimask outputs.

    `iou_scores` (B, P, 4); `object_score_logits` (B, P, 1); `mask_tokens` (B, P, 4, C); `image_hidden` (B, P, h, w,
    C); `attentions` of the tokens on the image, if asked for.
    """

    iou_scores: torch.Tensor
    object_score_logits: torch.Tensor
    mask_tokens: torch.Tensor
    image_hidden: torch.Tensor
    is_object: torch.Tensor | None
    attentions: tuple[torch.Tensor, ...]


def _broadcastable(name: str, tensor: torch.Tensor | None, shape: Sequence[int]) -> torch.Tensor | None:
    """`tensor` with as many axes as `shape`. Raises a `ValueError` that calls it `name` if it does not broadcast."""
    if tensor is None:
        return None
    padded = tensor[(None,) * (len(shape) - tensor.ndim)]
    if padded.ndim != len(shape) or any(side not in (1, full) for side, full in zip(padded.shape, shape, strict=True)):
        raise ValueError(f"{name} must broadcast to {tuple(shape)}, got the shape {tuple(tensor.shape)}")
    return padded


class MaskPrediction(NamedTuple):
    """Masks of P prompts, M each: `logits` (B, P, M, 4h, 4w), `iou_scores` (B, P, M), `object_score_logits` (B, P, 1),
    and `attentions` of the tokens on the image, if asked for."""

    logits: torch.Tensor
    iou_scores: torch.Tensor
    object_score_logits: torch.Tensor
    attentions: tuple[torch.Tensor, ...]


def join_predictions(parts: Sequence[MaskPrediction]) -> MaskPrediction:
    """One prediction of several that were made for some of the prompts each; of several, without attentions."""
    if len(parts) == 1:
        return parts[0]
    logits, ious, presence = (torch.cat(each, dim=1) for each in zip(*(part[:3] for part in parts), strict=True))
    return MaskPrediction(logits, ious, presence, attentions=())


class MaskDecoder(nn.Module):
    """Predicts masks, their quality and the object's presence from image features and prompt embeddings."""

    def __init__(self, config: Sam2MaskDecoderConfig):
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.num_mask_tokens = config.num_multimask_outputs + 1
        self.obj_score_token = nn.Embedding(1, width)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.transformer = TwoWayTransformer(config)
        self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = nn.LayerNorm(width // 4, eps=1e-6)
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.output_hypernetworks_mlps = nn.ModuleList(
            FeedForward(width, width, width // 8, num_layers=3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = FeedForward(
            width,
            config.iou_head_hidden_dim,
            self.num_mask_tokens,
            config.iou_head_depth,
            sigmoid_output=True,
        )
        self.pred_obj_score_head = FeedForward(width, width, 1, num_layers=3)

    def project_high_resolution(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Narrows the two finer maps of the pyramid for `masks`; the coarsest passes. Once an image, not a prompt."""
        finest, middle, coarsest = maps
        return [self.conv_s0(finest), self.conv_s1(middle), coarsest]

    def predict(
        self,
        image_embeddings: Sequence[torch.Tensor],
        image_positions: torch.Tensor,
        prompts: PromptEmbeddings,
        multimask: bool,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> MaskPrediction:
        """Masks and scores of all prompts: three a prompt with `multimask`, else one.

        Prompts do not see each other, so where nothing is learnt they are taken a few at a time, as many as the
        caches hold.
        """
        coarsest, count = image_embeddings[-1], prompts.tokens.shape[1]
        whole = torch.is_grad_enabled() or torch.compiler.is_compiling() or need_weights
        if not whole and attention_similarity is None and target_embedding is None:
            count = how_many_fit(coarsest.nbytes, coarsest.device)
        parts = []
        for group in prompts.split(count):
            guidance = (attention_similarity, target_embedding, need_weights)
            decoded = self.decode(coarsest, image_positions, group, *guidance)
            masks, scores = (self.multimasks if multimask else self.single_mask)(decoded, image_embeddings)
            parts.append(MaskPrediction(masks, scores, decoded.object_score_logits, decoded.attentions))
        return join_predictions(parts)

    def decode(
        self,
        image_embedding: torch.Tensor,
        image_positions: torch.Tensor,
        prompts: PromptEmbeddings,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> DecodedPrompts:
        """`image_embedding` (B, C, h, w), the coarsest map; `image_positions` (1, C, h, w)."""
        height, width = image_embedding.shape[-2:]
        heads = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        # The other parts may lie on other devices.
        image_embedding, image_positions = image_embedding.to(heads.device), image_positions.to(heads.device)
        prompts = prompts.to(heads.device)
        batch, count = prompts.tokens.shape[:2]
        tokens = torch.cat((heads.expand(batch, count, -1, -1), prompts.tokens.to(heads.dtype)), dim=2)
        image = (image_embedding.unsqueeze(1) + prompts.dense).flatten(3).transpose(2, 3)
        scores_shape = (*tokens.shape[:3], height * width)
        tokens, image, attentions = self.transformer(
            tokens,
            image,
            image_positions.flatten(2).transpose(1, 2).unsqueeze(1),
            token_mask=self._token_mask(prompts.is_token, len(heads)),
            image_bias=_broadcastable("attention_similarity", attention_similarity, scores_shape),
            target_embedding=_broadcastable("target_embedding", target_embedding, tokens.shape),
            need_weights=need_weights,
        )
        scores = self.iou_prediction_head(tokens[:, :, 1])
        presence = self.pred_obj_score_head(tokens[:, :, 0])
        if prompts.is_object is not None:
            scores = scores * prompts.is_object.unsqueeze(-1)
            presence = presence.masked_fill(~prompts.is_object.unsqueeze(-1), NO_OBJECT_LOGIT)
        mask_tokens = tokens[:, :, 2 : 2 + self.num_mask_tokens]
        image = image.unflatten(2, (height, width))
        return DecodedPrompts(scores, presence, mask_tokens, image, prompts.is_object, attentions)

    def multimasks(
        self, decoded: DecodedPrompts, high_resolution: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The three multimask outputs: logits (B, P, 3, 4h, 4w) and scores (B, P, 3)."""
        return self.masks(decoded, high_resolution)[:, :, 1:], decoded.iou_scores[:, :, 1:]

    def single_mask(
        self, decoded: DecodedPrompts, high_resolution: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One mask a prompt: logits (B, P, 1, 4h, 4w) and scores (B, P, 1).

        Outside training, a mask that is not stable gives way to the best of the multimask outputs.
        """
        masks, scores = self.masks(decoded, high_resolution), decoded.iou_scores
        single, single_score = masks[:, :, :1], scores[:, :, :1]
        if self.training or not self.config.dynamic_multimask_via_stability:
            return single, single_score
        best = scores[:, :, 1:].argmax(dim=-1, keepdim=True) + 1
        best_mask = masks.gather(2, best[..., None, None].expand(-1, -1, -1, *masks.shape[-2:]))
        stable = self._is_stable(single)
        return (
            torch.where(stable[..., None, None], single, best_mask),
            torch.where(stable, single_score, scores.gather(2, best)),
        )

    def masks(self, decoded: DecodedPrompts, high_resolution: Sequence[torch.Tensor]) -> torch.Tensor:
        """All four masks of every prompt: logits (B, P, 4, 4h, 4w)."""
        fine = [level.unsqueeze(1) for level in high_resolution[:2]]
        masks = self._upscale(decoded.image_hidden, decoded.mask_tokens, fine)
        if decoded.is_object is not None:
            masks = masks.masked_fill(~decoded.is_object[..., None, None, None], NO_OBJECT_LOGIT)
        return masks

    def selected_masks(
        self,
        decoded: DecodedPrompts,
        high_resolution: Sequence[torch.Tensor],
        selection: torch.Tensor,
        upscale: Callable[..., torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The masks for which `selection` (B, P, 4) is True, in row-major order: logits (K, 4h, 4w).

        Prompts without a selected mask are not upscaled at all.
        """
        image, prompt = selection.any(dim=-1).nonzero(as_tuple=True)
        fine = [level.to(image.device) for level in high_resolution[:2]]
        fine = [level[image] if len(level) > 1 else level for level in fine]
        masks = (upscale or self._upscale)(
            decoded.image_hidden[image, prompt], decoded.mask_tokens[image, prompt], fine
        )
        return masks[selection[image, prompt]]

    def _upscale(self, hidden: torch.Tensor, mask_tokens: torch.Tensor, fine: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden maps (..., h, w, C) and their tokens (..., 4, C) to logits (..., 4, 4h, 4w)."""
        kernels = [mlp(mask_tokens[..., index, :]) for index, mlp in enumerate(self.output_hypernetworks_mlps)]
        finest, middle = (level.to(hidden.device) for level in fine)
        doublings = (self.upscale_conv1, self.upscale_conv2)
        function = upscale_in_blocks if fast_paths_enabled() and may_read_weights(*doublings) else upscale
        return function(
            hidden,
            (middle, finest),
            doublings,
            self.upscale_layer_norm,
            torch.stack(kernels, dim=-2),
        )

    def _is_stable(self, mask: torch.Tensor) -> torch.Tensor:
        """Whether a mask hardly changes when its threshold moves by delta either way: (..., H, W) to (...)."""
        delta = self.config.dynamic_multimask_stability_delta
        inner = (mask > delta).sum(dim=(-2, -1)).float()
        outer = (mask > -delta).sum(dim=(-2, -1)).float()
        stability = torch.where(outer > 0, inner / outer, 1.0)
        return stability >= self.config.dynamic_multimask_stability_thresh

    @staticmethod
    def _token_mask(is_token: torch.Tensor | None, num_heads_tokens: int) -> torch.Tensor | None:
        """(B, P, N) of the prompts' tokens to (B, P, 1, N) of all tokens, the decoder's own included."""
        return None if is_token is None else F.pad(is_token, (num_heads_tokens, 0), value=True).unsqueeze(2)
