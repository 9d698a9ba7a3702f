"""Attention to tokens that are narrower than the heads that read them, in blocks that stay in a CPU's caches.

A memory's tokens are 64 wide, the head that reads them 256. Weights add up to one, so the projection of the values can
wait until they have been read:

    A (M Wv + b)  =  (A M) Wv + b

which saves three quarters of the second product. No fused kernel of torch gains from that, so the blocks are here:
scores exist for some queries and some tokens at a time, and what has been read so far is brought to the new maximum
with every block (Milakov and Gimelshein, arXiv 1805.02867).

Axes: L queries, M tokens, d the head's width, D the tokens' width.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# A block of scores in float32 takes 1 MiB: half of the second-level cache of current server cores.
QUERIES_AT_ONCE = TOKENS_AT_ONCE = 512


def attend_in_blocks(queries: Tensor, blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """softmax(Q K^T) V of scaled queries (L, d) over all blocks of keys (M', d) and values (M', D): (L, D).

    There must be at least one block. Blocks of some `TOKENS_AT_ONCE` tokens are the fastest; they are asked for one by
    one, so they need not exist at once.
    """
    readers = [_Reader(part) for part in queries.split(QUERIES_AT_ONCE)]
    for keys, values in blocks:
        for reader in readers:
            reader.read(keys, values)
    return torch.cat([reader.total / reader.weight for reader in readers])


class _Reader:
    """Some queries and what they have read: `total` (L, D) and `weight` (L, 1) are the sums of exp(score - peak) with
    and without the values, where `peak` (L, 1) is the largest score so far."""

    def __init__(self, queries: Tensor):
        self.queries = queries
        self.peak: Tensor | None = None

    def read(self, keys: Tensor, values: Tensor) -> None:
        scores = self.queries @ keys.T
        peak = scores.amax(dim=-1, keepdim=True)
        if self.peak is not None:
            peak = torch.maximum(peak, self.peak)
        weights = scores.sub_(peak).exp_()
        weight = weights.sum(dim=-1, keepdim=True)
        if self.peak is None:
            self.total, self.weight = weights @ values, weight
        else:
            shrink = (self.peak - peak).exp_()
            self.weight.mul_(shrink).add_(weight)
            self.total.mul_(shrink).addmm_(weights, values)
        self.peak = peak
