"""Attention to tokens that are narrower than the heads that read them, in blocks that stay in a CPU's caches.

A memory's tokens are 64 wide, the head that reads them 256. Weights add up to one, so the projection of the values can
wait until they have been read:

    A (M Wv + b)  =  (A M) Wv + b

which saves three quarters of the second product. No fused kernel of torch gains from that, so the blocks are here:
scores exist for some queries and some tokens at a time.

A softmax stays the same if all scores of a query are shifted alike, so that no exponential overflows. Fused kernels
shift by the largest score so far, and bring what they have read to a new scale with every block (Milakov and
Gimelshein, arXiv 1805.02867). Here the largest of the first few scores has to do, or none if that is near zero, for as
long as sums stay in bounds: floating point is as exact far from one as near it.

Axes: N objects, L queries, M tokens, d the head's width, D the tokens' width.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor

# Of all objects together. A block of scores then takes 4 MiB, the second-level caches of two current server cores. Many
# queries are better than many tokens: with 512 of each, reading seven memories at 1024 pixels took a quarter longer.
QUERIES_AT_ONCE = 4096
TOKENS_AT_ONCE = 256
_TOKENS_TO_GUESS_FROM = 32
# Scores whose exponentials are in no danger; subtracting something from all others is a pass over all of them.
_NEAR_ZERO = 30.0
# Sums of so much, and their products with values, are far from the largest float32, which is near 2 ** 128.
_LARGEST_SUM = 2.0**64


def objects_at_once(num_queries: int) -> int:
    """How many objects with so many queries each are best read together: small maps share a product, large do not."""
    return max(1, QUERIES_AT_ONCE // num_queries)


def attend_in_blocks(queries: Tensor, blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """softmax(Q K^T) V of scaled queries (N, L, d) over blocks of keys (N, M', d) and values (N, M', D): (N, L, D).

    There must be at least one block. They may be of any size, and are asked for one by one, so they need not exist at
    once.
    """
    remaining = iter(blocks)
    first = next(remaining)
    readers = [_Reader(part, *first) for part in queries.split(QUERIES_AT_ONCE, dim=1)]
    for keys, values in chain([first], remaining):
        for chunk in zip(keys.split(TOKENS_AT_ONCE, dim=1), values.split(TOKENS_AT_ONCE, dim=1), strict=True):
            for reader in readers:
                reader.read(*chunk)
    return torch.cat([reader.total / reader.weight for reader in readers], dim=1)


class _Reader:
    """Some queries and what they have read: `total` (N, L, D) and `weight` (N, L, 1) are the sums of
    exp(score - shift) with and without the values, where `shift` (N, L, 1) is near the largest score, None for zero."""

    def __init__(self, queries: Tensor, keys: Tensor, values: Tensor):
        self.queries = queries
        guess = self._largest_score(keys[:, :_TOKENS_TO_GUESS_FROM])
        self.shift = None if guess.abs().amax() < _NEAR_ZERO else guess
        self.weight = torch.zeros_like(guess)
        self.total = queries.new_zeros(*queries.shape[:2], values.shape[-1])

    def read(self, keys: Tensor, values: Tensor) -> None:
        while True:
            scores = self.queries @ keys.mT
            weights = (scores if self.shift is None else scores.sub_(self.shift)).exp_()
            weight = weights.sum(dim=-1, keepdim=True)
            if not weight.amax() > _LARGEST_SUM:  # NaN is not either: it is passed on
                break
            self._raise_shift(self._largest_score(keys))
        self.weight.add_(weight)
        self.total.baddbmm_(weights, values)

    def _largest_score(self, keys: Tensor) -> Tensor:
        return (self.queries @ keys.mT).amax(dim=-1, keepdim=True)

    def _raise_shift(self, largest: Tensor) -> None:
        """Brings what has been read to the scale of a larger score."""
        before = torch.zeros_like(largest) if self.shift is None else self.shift
        shift = torch.maximum(before, largest)
        factor = (before - shift).exp_()
        self.weight.mul_(factor)
        self.total.mul_(factor)
        self.shift = shift
