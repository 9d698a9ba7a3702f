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
from ..prompt_values import NO_OBJECT_LOGIT
from .layers import FeedForward, replaceable
from .prompt_encoder import PromptEmbeddings
from .two_way_transformer import TwoWayTransformer


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


class Candidates(NamedTuple):
    """All masks that may be taken for K objects, M each.

    `masks` (K, M, h, w) logits; `ious` (K, M), their estimates; `object_score` (K, 1); `tokens` (K, M, C).
    """

    masks: torch.Tensor
    ious: torch.Tensor
    object_score: torch.Tensor
    tokens: torch.Tensor


def take(candidates: Candidates, chosen: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Takes one candidate of every object.

    Args:
        candidates: those of K objects.
        chosen: which to take, (K,) int64; by default the one with the highest estimated IoU.

    Returns:
        Its logits (K, 1, h, w) and IoU (K, 1), both float32, and its token (K, C).
    """
    best = (candidates.ious.argmax(dim=1) if chosen is None else chosen).unsqueeze(1)
    masks = candidates.masks.gather(1, best[..., None, None].expand(-1, -1, *candidates.masks.shape[-2:]))
    token = candidates.tokens.gather(1, best[..., None].expand(-1, -1, candidates.tokens.shape[-1])).squeeze(1)
    return masks.float(), candidates.ious.gather(1, best).float(), token


def _broadcastable(name: str, tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """`tensor` with as many axes as `shape`. Raises a `ValueError` that calls it `name` if it does not broadcast."""
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
    logits, ious, object_score = (torch.cat(each, dim=1) for each in zip(*(part[:3] for part in parts), strict=True))
    return MaskPrediction(logits, ious, object_score, attentions=())


class MaskDecoder(nn.Module):
    """Predicts masks, their quality and the object score from image features and prompt embeddings."""

    def __init__(self, config: Sam2MaskDecoderConfig):
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.hidden_size = width
        self.num_multimask_outputs = config.num_multimask_outputs
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
        """Projects the two finer maps of the pyramid for `masks`; the coarsest passes. Once an image, not a prompt."""
        finest, middle, coarsest = maps
        return [self.conv_s0(finest), self.conv_s1(middle), coarsest]

    @property
    def projections(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """The 1x1 projections of the two finer maps."""
        return self.conv_s0, self.conv_s1

    def forward(
        self,
        image_embeddings: torch.Tensor,
        image_positional_embeddings: torch.Tensor,
        sparse_prompt_embeddings: torch.Tensor | None,
        dense_prompt_embeddings: torch.Tensor,
        multimask_output: bool,
        high_resolution_features: Sequence[torch.Tensor],
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decodes embedded prompts, as transformers' mask decoder does; tokens of padding are read like others.

        Args:
            image_embeddings: the coarsest map (B, C, h, w).
            image_positional_embeddings: the encoding of its positions, (B or 1, C, h, w).
            sparse_prompt_embeddings: tokens of prompts (B, P, N, C); None or an empty batch where there are none.
            dense_prompt_embeddings: (B or 1, C, h, w), or (B, P, C, h, w) where prompts have masks of their own.
            multimask_output: whether to give three masks a prompt, or one.
            high_resolution_features: the projected finer maps (B or 1, C/8, 4h, 4w) and (B or 1, C/4, 2h, 2w).
            attention_similarity: added to the scores of tokens on the image, broadcast to (B, P, N, h * w).
            target_embedding: added to the tokens, broadcast to (B, P, N, C).

        Returns:
            Logits (B, P, M, 4h, 4w), estimated IoUs (B, P, M), the masks' tokens (B, P, M, C) and the logits of the
            object scores (B, P, 1), with M of 3 or 1.
        """
        tokens, dense = sparse_prompt_embeddings, dense_prompt_embeddings
        if tokens is None or len(tokens) == 0:
            count = 1 if tokens is None else tokens.shape[1]
            tokens = image_embeddings.new_zeros(len(image_embeddings), count, 0, image_embeddings.shape[1])
        prompts = PromptEmbeddings(tokens, dense.unsqueeze(1) if dense.ndim == 4 else dense, None, None)
        guidance = (attention_similarity, target_embedding)
        decoded = self.decode(image_embeddings, image_positional_embeddings, prompts, *guidance)
        return *self.chosen(decoded, high_resolution_features, multimask_output), decoded.object_score_logits

    def decode(
        self,
        image_embedding: torch.Tensor,
        image_positions: torch.Tensor,
        prompts: PromptEmbeddings,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> DecodedPrompts:
        """`image_embedding` (B, C, h, w), the coarsest map; `image_positions` (B or 1, C, h, w)."""
        height, width = image_embedding.shape[-2:]
        heads = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        image_embedding, image_positions = image_embedding.to(heads.device), image_positions.to(heads.device)
        prompts = prompts.to(heads.device)  # the other parts of a large model may lie elsewhere
        batch, count = prompts.tokens.shape[:2]
        tokens = torch.cat((heads.expand(batch, count, -1, -1), prompts.tokens.to(heads.dtype)), dim=2)
        image = (image_embedding.unsqueeze(1) + prompts.dense).flatten(3).transpose(2, 3)
        token_mask = None  # (B, P, 1, N), the decoder's own tokens first
        if prompts.is_token is not None:
            token_mask = F.pad(prompts.is_token, (len(heads), 0), value=True).unsqueeze(2)
        if attention_similarity is not None:
            scores_shape = (*tokens.shape[:3], height * width)
            attention_similarity = _broadcastable("attention_similarity", attention_similarity, scores_shape)
        if target_embedding is not None:
            target_embedding = _broadcastable("target_embedding", target_embedding, tokens.shape)
        tokens, image, attentions = self.transformer(
            tokens,
            image,
            image_positions.flatten(2).transpose(1, 2).unsqueeze(1),
            token_mask=token_mask,
            image_bias=attention_similarity,
            target_embedding=target_embedding,
            need_weights=need_weights,
        )
        scores = self.iou_prediction_head(tokens[:, :, 1])
        object_score = self.pred_obj_score_head(tokens[:, :, 0])
        if prompts.is_object is not None:
            scores = scores * prompts.is_object.unsqueeze(-1)
            object_score = object_score.masked_fill(~prompts.is_object.unsqueeze(-1), NO_OBJECT_LOGIT)
        mask_tokens = tokens[:, :, 2 : 2 + self.num_mask_tokens]
        image = image.unflatten(2, (height, width))
        return DecodedPrompts(scores, object_score, mask_tokens, image, prompts.is_object, attentions)

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
        return self.single_of(self.masks(decoded, high_resolution), decoded.iou_scores)

    def single_of(self, masks: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`single_mask` from all four masks (B, P, 4, 4h, 4w) and their scores (B, P, 4)."""
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

    def chosen(
        self, decoded: DecodedPrompts, high_resolution: Sequence[torch.Tensor], multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The three multimask outputs, or the single mask: logits, scores, and their tokens (B, P, M, C)."""
        if multimask:
            return *self.multimasks(decoded, high_resolution), decoded.mask_tokens[:, :, 1:]
        return *self.single_mask(decoded, high_resolution), decoded.mask_tokens[:, :, :1]

    def candidates(
        self, decoded: DecodedPrompts, high_resolution: Sequence[torch.Tensor], multimask: bool
    ) -> Candidates:
        """All masks that may be taken for the B * P objects: the three multimask outputs, or the single mask."""
        masks, ious, tokens = self.chosen(decoded, high_resolution, multimask)
        fields = (masks, ious, decoded.object_score_logits, tokens)
        return Candidates(*(field.flatten(0, 1) for field in fields))

    def masks(self, decoded: DecodedPrompts, high_resolution: Sequence[torch.Tensor]) -> torch.Tensor:
        """All four masks of every prompt: logits (B, P, 4, 4h, 4w)."""
        fine = (high_resolution[0].unsqueeze(1), high_resolution[1].unsqueeze(1))
        masks = self.upscale(decoded.image_hidden, decoded.mask_tokens, fine)
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
        masks = (upscale or self.upscale)(decoded.image_hidden[image, prompt], decoded.mask_tokens[image, prompt], fine)
        return masks[selection[image, prompt]]

    @replaceable
    def upscale(self, hidden: torch.Tensor, mask_tokens: torch.Tensor, fine: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden maps (..., h, w, C) and their tokens (..., 4, C) to logits (..., 4, 4h, 4w).

        `fine` are the projected maps (..., C/8, 4h, 4w) and (..., C/4, 2h, 2w), whose leading axes broadcast.
        """
        finest, middle = (level.to(hidden.device) for level in fine)
        kernels = self.mask_kernels(mask_tokens)
        doublings = (self.upscale_conv1, self.upscale_conv2)
        return upscale(hidden, (middle, finest), doublings, self.upscale_layer_norm, kernels)

    def mask_kernels(self, mask_tokens: torch.Tensor) -> torch.Tensor:
        """The weights (..., 4, C/8) that make masks of the upscaled map, from the tokens (..., 4, C)."""
        kernels = []
        for index, mlp in enumerate(self.output_hypernetworks_mlps):
            kernels.append(mlp(mask_tokens[..., index, :]))
        return torch.stack(kernels, dim=-2)

    def _is_stable(self, mask: torch.Tensor) -> torch.Tensor:
        """Whether a mask hardly changes when its threshold moves by delta either way: (..., H, W) to (...)."""
        delta = self.config.dynamic_multimask_stability_delta
        inner = (mask > delta).sum(dim=(-2, -1)).float()
        outer = (mask > -delta).sum(dim=(-2, -1)).float()
        stability = torch.where(outer > 0, inner / outer, 1.0)
        return stability >= self.config.dynamic_multimask_stability_thresh


def upscale(
    hidden: torch.Tensor,
    fine: tuple[torch.Tensor, torch.Tensor],
    doublings: tuple[nn.ConvTranspose2d, nn.ConvTranspose2d],
    norm: nn.LayerNorm,
    kernels: torch.Tensor,
) -> torch.Tensor:
    """Masks at four times the resolution of a hidden map, in two doublings.

    Args:
        hidden: (..., h, w, C).
        fine: maps that are added after each doubling, (..., C', 2h, 2w) and (..., C'', 4h, 4w), whose leading axes
            broadcast.
        doublings: transposed convolutions with kernel 2 and stride 2.
        norm: follows the first of them.
        kernels: the masks' weights of the last channels, (..., M, C'').

    Returns:
        Logits (..., M, 4h, 4w).
    """
    leading = hidden.shape[:-3]
    features = hidden.flatten(0, -4).permute(0, 3, 1, 2) if leading else hidden.permute(2, 0, 1).unsqueeze(0)
    middle = doublings[0](features).unflatten(0, leading or (1,)) + fine[0]
    middle = F.gelu(norm(middle.movedim(-3, -1)).movedim(-1, -3))
    finest = doublings[1](middle.flatten(0, -4)).unflatten(0, leading or (1,)) + fine[1]
    logits = kernels @ F.gelu(finest).flatten(-2)
    return logits.unflatten(-1, tuple(finest.shape[-2:]))
