"""The mask decoder with less arithmetic: attention between few tokens and many positions, and masks in blocks.

*Attention.* The plain form projects all positions of the image to queries, keys and values. This one multiplies the
projections into the tokens instead, of which there are few, and so works on the image's own channels:

    scores   (X Wk) q    =  X (Wk q)
    values   A (X Wv)    =  (A X) Wv
    output   (A v) Wo    =  A (v Wo)

With N tokens and h heads, N h columns take the place of the inner width, about half as many; and the projections of
the image, each as large as the image itself, are never written.

*Upscaling.* Each doubling is a transposed convolution with kernel 2 and stride 2, whose blocks do not overlap: every
position becomes a block of 2 x 2 by one linear map of its channels. The plain form lays the blocks out as a map after
each doubling. This one leaves them where the matrix product puts them, lays the finer maps (the same for all prompts)
out in the same order, and sorts nothing but the finished masks, which have few channels.

Axes: B images, P prompts, L positions of the image, N tokens, C channels, h heads, d a head's width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .chunking import how_many_rows
from .conditions import may_read_weights, suit

if TYPE_CHECKING:
    from ..network.layers import PromptAttention
    from ..network.mask_decoder import MaskDecoder
    from ..network.two_way_transformer import TwoWayAttentionBlock, TwoWayTransformer

Doublings = tuple[nn.ConvTranspose2d, nn.ConvTranspose2d]

# Less than what a float32 sum of weights that add up to one can show, and far more than the smallest normal number.
NO_WEIGHT = 2.0**-100


def suits_transformer(
    transformer: TwoWayTransformer,
    tokens: Tensor,
    image: Tensor,
    image_positions: Tensor,
    token_mask: Tensor | None = None,
    image_bias: Tensor | None = None,
    target_embedding: Tensor | None = None,
    need_weights: bool = False,
) -> bool:
    """Whether the tokens of all heads are fewer than the inner channels, as measured on CPUs in float32.

    Also in training, unless layers are computed again in the backward pass: that is for layers called by themselves.
    """
    if image_bias is not None or target_embedding is not None or need_weights:
        return False
    if image.dtype is not torch.float32 or not suit(image, keeps_gradients=True) or torch.is_autocast_enabled("cpu"):
        return False
    last = transformer.final_attn_token_to_image
    if not saves_work(last, tokens):
        return False
    projections = [*last.children()]
    for layer in cast("Iterable[TwoWayAttentionBlock]", transformer.layers):
        if layer.gradient_checkpointing and torch.is_grad_enabled():
            return False
        projections += [*layer.cross_attn_token_to_image.children(), *layer.cross_attn_image_to_token.children()]
    return may_read_weights(*projections)


def saves_work(attention: PromptAttention, tokens: Tensor) -> bool:
    """Whether reassociated attention between an image and tokens (B, P, N, C) is the cheaper one."""
    return tokens.shape[2] * attention.num_heads <= attention.q_proj.out_features


def run_transformer(
    transformer: TwoWayTransformer,
    tokens: Tensor,
    image: Tensor,
    image_positions: Tensor,
    token_mask: Tensor | None = None,
    image_bias: Tensor | None = None,
    target_embedding: Tensor | None = None,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor, tuple[()]]:
    """`TwoWayTransformer.forward`: tokens (B, P, N, C) and image (B, P or 1, L, C) to the same."""
    positions = tokens
    for layer in cast("Iterable[TwoWayAttentionBlock]", transformer.layers):
        if layer.is_first:
            tokens = layer.self_attn(tokens, tokens, tokens, token_mask)[0]
        else:
            placed = tokens + positions
            tokens = tokens + layer.self_attn(placed, placed, tokens, token_mask)[0]
        tokens = layer.layer_norm1(tokens)
        placed_image = image + image_positions
        read = read_image(layer.cross_attn_token_to_image, tokens + positions, placed_image, image)
        tokens = layer.layer_norm2(tokens + read)
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
        informed = inform_image(
            layer.cross_attn_image_to_token, image, placed_image, tokens + positions, tokens, token_mask
        )
        image = layer.layer_norm4(informed)
    last = transformer.final_attn_token_to_image
    tokens = tokens + read_image(last, tokens + positions, image + image_positions, image)
    return transformer.layer_norm_final_attn(tokens), image, ()


def read_image(attention: PromptAttention, tokens: Tensor, placed_image: Tensor, image: Tensor) -> Tensor:
    """What the tokens (B, P, N, C) read from the image (B, P or 1, L, C): (B, P, N, C).

    Keys come from `placed_image`, the image plus its positions. An image that several prompts share is projected once
    by the plain form, which is cheaper still.
    """
    if image.shape[1] < tokens.shape[1]:
        return attention(tokens, placed_image, image)[0]
    heads = attention.num_heads
    queries = _spread(attention.q_proj(tokens) * attention.scaling, heads)
    # The bias of the keys adds the same to all scores of a query, which the softmax takes away again.
    scores = (attention.k_proj.weight.T @ queries).transpose(-2, -1) @ placed_image.transpose(-2, -1)
    read = (weigh(scores, dim=-1) @ image).unflatten(2, (heads, -1))
    values = attention.v_proj.weight.unflatten(0, (heads, -1))
    # Weights add up to one, so the bias of the values passes through unweighted.
    result = torch.einsum("bphnc,hdc->bpnhd", read, values).flatten(-2) + attention.v_proj.bias
    return attention.o_proj(result)


def inform_image(
    attention: PromptAttention,
    image: Tensor,
    placed_image: Tensor,
    placed_tokens: Tensor,
    tokens: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """The image (B, P or 1, L, C) plus what it reads from the tokens (B, P, N, C): (B, P, L, C).

    `placed_tokens` are the keys, `tokens` the values; `mask` (B, P, 1, N) is False for tokens that are not read.
    """
    heads = attention.num_heads
    keys = _spread(attention.k_proj(placed_tokens) * attention.scaling, heads)
    if image.shape[1] < tokens.shape[1]:
        scores = keys.transpose(-2, -1) @ attention.q_proj(placed_image).transpose(-2, -1)
    else:
        scores = (attention.q_proj.weight.T @ keys).transpose(-2, -1) @ placed_image.transpose(-2, -1)
        scores = scores + (attention.q_proj.bias @ keys).unsqueeze(-1)
    # Tokens before positions: a softmax over the few tokens then runs along the many positions.
    scores = scores.unflatten(2, (heads, -1))
    if mask is not None:
        scores = scores.masked_fill(~mask.unsqueeze(-1), float("-inf"))
    weights = weigh(scores, dim=-2).flatten(2, 3).transpose(-2, -1)
    # Each head's weights add up to one: an h-th of the bias in every row of every head adds it once.
    values = _spread(attention.v_proj(tokens), heads).transpose(-2, -1) @ attention.o_proj.weight.T
    values = values + attention.o_proj.bias / heads
    image = image.expand(-1, weights.shape[1], -1, -1).flatten(0, 1)
    return torch.baddbmm(image, weights.flatten(0, 1), values.flatten(0, 1)).unflatten(0, weights.shape[:2])


def _spread(tokens: Tensor, num_heads: int) -> Tensor:
    """(B, P, N, h * d) to (B, P, h * d, h * N): a column for each head and token, zero outside the head's rows."""
    heads = tokens.unflatten(-1, (num_heads, -1)).permute(0, 1, 4, 2, 3)
    return torch.diag_embed(heads, dim1=2, dim2=4).flatten(4, 5).flatten(2, 3)


def weigh(scores: Tensor, dim: int) -> Tensor:
    """The softmax of scores, with weights that count for nothing set to zero.

    Some of these would be subnormal numbers, each of which holds a CPU's multiplication up for a hundred cycles and
    more: with attention as sharp as it can be here, a click took twice as long.
    """
    return F.threshold(scores.softmax(dim=dim), NO_WEIGHT, 0.0)


def suits_upscaling(decoder: MaskDecoder, hidden: Tensor, mask_tokens: Tensor, fine: Sequence[Tensor]) -> bool:
    """Whether the weights of both doublings may be read; on any device, and also in training."""
    return may_read_weights(decoder.upscale_conv1, decoder.upscale_conv2, device_type=hidden.device.type)


def upscale(decoder: MaskDecoder, hidden: Tensor, mask_tokens: Tensor, fine: Sequence[Tensor]) -> Tensor:
    """`MaskDecoder.upscale`: hidden maps (..., h, w, C) and their tokens (..., 4, C) to logits (..., 4, 4h, 4w).

    In bands of as many rows as the caches hold.
    """
    layers = ((decoder.upscale_conv1, decoder.upscale_conv2), decoder.upscale_layer_norm)
    finest, middle = fine
    kernels = decoder.mask_kernels(mask_tokens)
    row = hidden.shape[:-3].numel() * hidden.shape[-2] * 16  # positions of the masks
    count = max(1, how_many_rows(finest, finest.shape[-3]) // max(1, row))
    if count >= hidden.shape[-3] or not suit(hidden):
        return upscale_in_blocks(hidden, (middle, finest), *layers, kernels)
    bands = zip(
        hidden.split(count, dim=-3), middle.split(2 * count, dim=-2), finest.split(4 * count, dim=-2), strict=True
    )
    logits = [upscale_in_blocks(band, (lower, upper), *layers, kernels) for band, lower, upper in bands]
    return torch.cat(logits, dim=-2)


def upscale_in_blocks(
    hidden: Tensor, fine: tuple[Tensor, Tensor], doublings: Doublings, norm: nn.LayerNorm, kernels: Tensor
) -> Tensor:
    """The same as the plain `upscale`, in the order of blocks."""
    height, width = hidden.shape[-3:-1]
    middle = _in_blocks(fine[0], (height, width), doublings[0])
    finest = _in_blocks(fine[1], (height, width), doublings[1])
    features = _double(hidden.flatten(-3, -2), middle, doublings[0])
    features = F.gelu(norm(features))
    features = F.gelu(_double(features, finest, doublings[1]))
    logits = (kernels @ features.transpose(-2, -1)).unflatten(-1, (height, width, 2, 2, 2, 2))
    # (h, w, y1, x1, y2, x2) to (h, y1, y2, w, x1, x2)
    start = logits.ndim - 6
    logits = logits.movedim((start + 2, start + 4), (start + 1, start + 2))
    return logits.reshape(*logits.shape[:-6], 4 * height, 4 * width)


def _double(features: Tensor, added: Tensor, doubling: nn.ConvTranspose2d) -> Tensor:
    """(..., L, C) to (..., 4 L, C'), with `added` (..., L, 4 C') on top."""
    kernel = doubling.weight.permute(0, 2, 3, 1).flatten(1)
    batch = features.shape[:-2]
    doubled = torch.baddbmm(
        added.expand(*batch, -1, -1).flatten(0, -3),
        features.flatten(0, -3),
        kernel.expand(batch.numel(), -1, -1),
    )
    return doubled.unflatten(0, batch).unflatten(-1, (4, -1)).flatten(-3, -2)


def _in_blocks(level: Tensor, size: tuple[int, int], doubling: nn.ConvTranspose2d) -> Tensor:
    """A finer map (..., C', H, W) in the order in which `_double` gives its positions, (..., L, 4 C'), plus its bias.

    H and W are twice or four times `size` (h, w): blocks of 2 x 2, or blocks of 2 x 2 blocks.
    """
    height, width = size
    halvings = (level.shape[-2] // height).bit_length() - 1
    twos = (2,) * halvings
    split = level.unflatten(-1, (width, *twos)).unflatten(-2 - halvings, (height, *twos))
    # (..., C', h, y1, .., w, x1, ..) to (..., h, w, y1, x1, .., C')
    leading = level.ndim - 3
    order = [*range(leading)]
    for step in range(1 + halvings):
        order += [leading + 1 + step, leading + 2 + halvings + step]
    blocks = split.permute(*order, leading)
    # Spelled out, because -1 is no length where the leading axes hold nothing.
    blocks = blocks.reshape(*level.shape[:-3], level.shape[-2] * level.shape[-1] // 4, 4 * level.shape[-3])
    assert doubling.bias is not None  # that is how the checkpoints have it
    return blocks + doubling.bias.repeat(4)
