"""From the image's hidden map to masks at four times its resolution, in two doublings.

Each doubling is a transposed convolution with kernel 2 and stride 2, whose blocks do not overlap: every place becomes
a block of 2 x 2 by one linear map of its channels. The plain form lays the blocks out as a map after each doubling. The
other one leaves them where the matrix product puts them, lays the finer maps (the same for all prompts) out in the same
order, and sorts nothing but the finished masks, which have few channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .chunking import how_many_rows
from .dispatch import suit as fast_paths_suit

Doublings = tuple[nn.ConvTranspose2d, nn.ConvTranspose2d]


def upscale(
    hidden: Tensor, fine: tuple[Tensor, Tensor], doublings: Doublings, norm: nn.LayerNorm, kernels: Tensor
) -> Tensor:
    """Logits (..., M, 4h, 4w) of M masks from a hidden map (..., h, w, C), in the plain form.

    `fine` are maps that are added after each doubling, (..., C', 2h, 2w) and (..., C'', 4h, 4w), whose leading axes
    broadcast; `norm` follows the first. `kernels` (..., M, C'') are the masks' weights of the last channels.
    """
    leading = hidden.shape[:-3]
    features = hidden.flatten(0, -4).permute(0, 3, 1, 2) if leading else hidden.permute(2, 0, 1).unsqueeze(0)
    middle = doublings[0](features).unflatten(0, leading or (1,)) + fine[0]
    middle = F.gelu(norm(middle.movedim(-3, -1)).movedim(-1, -3))
    finest = doublings[1](middle.flatten(0, -4)).unflatten(0, leading or (1,)) + fine[1]
    logits = kernels @ F.gelu(finest).flatten(-2)
    return logits.unflatten(-1, tuple(finest.shape[-2:]))


def upscale_in_blocks(
    hidden: Tensor, fine: tuple[Tensor, Tensor], doublings: Doublings, norm: nn.LayerNorm, kernels: Tensor
) -> Tensor:
    """The same as `upscale`, in the order of blocks, and in bands of as many rows as the caches hold."""
    row = hidden.shape[:-3].numel() * hidden.shape[-2] * 16  # places of the masks
    count = max(1, how_many_rows(fine[1], fine[1].shape[-3]) // max(1, row))
    if count >= hidden.shape[-3] or not fast_paths_suit(hidden):
        return _upscale_band(hidden, fine, doublings, norm, kernels)
    bands = zip(
        hidden.split(count, dim=-3), fine[0].split(2 * count, dim=-2), fine[1].split(4 * count, dim=-2), strict=True
    )
    logits = [_upscale_band(band, (middle, finest), doublings, norm, kernels) for band, middle, finest in bands]
    return torch.cat(logits, dim=-2)


def _upscale_band(
    hidden: Tensor, fine: tuple[Tensor, Tensor], doublings: Doublings, norm: nn.LayerNorm, kernels: Tensor
) -> Tensor:
    height, width = hidden.shape[-3:-1]
    middle = _in_blocks(fine[0], (height, width), doublings[0])
    finest = _in_blocks(fine[1], (height, width), doublings[1])
    features = _double(hidden.flatten(-3, -2), middle, doublings[0])
    features = F.gelu(norm(features))
    features = F.gelu(_double(features, finest, doublings[1]))
    logits = (kernels @ features.transpose(-2, -1)).unflatten(-1, (height, width, 2, 2, 2, 2))
    # (h, w, y1, x1, y2, x2) to (h, y1, y2, w, x1, x2)
    leading = range(logits.ndim - 6)
    order = [*leading, *(len(leading) + axis for axis in (0, 2, 4, 1, 3, 5))]
    return logits.permute(order).reshape(*logits.shape[:-6], 4 * height, 4 * width)


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
    """A finer map (..., C', H, W) in the order in which `_double` gives its places, (..., L, 4 C'), plus its bias.

    H and W are twice or four times `size` (h, w): blocks of 2 x 2, or blocks of 2 x 2 blocks.
    """
    height, width = size
    halvings = (level.shape[-2] // height).bit_length() - 1
    twos = (2,) * halvings
    split = level.unflatten(-1, (width, *twos)).unflatten(-2 - halvings, (height, *twos))
    # (..., C', h, y1, .., w, x1, ..) to (..., h, w, y1, x1, .., C')
    leading = level.ndim - 3
    first_y, first_x = leading + 1, leading + 2 + halvings
    places = [axis + step for step in range(1 + halvings) for axis in (first_y, first_x)]
    blocks = split.permute(*range(leading), *places, leading)
    # Spelled out, because -1 is no length where the leading axes hold nothing.
    blocks = blocks.reshape(*level.shape[:-3], level.shape[-2] * level.shape[-1] // 4, 4 * level.shape[-3])
    assert doubling.bias is not None  # that is how the checkpoints have it
    return blocks + doubling.bias.repeat(4)
