"""Attention between a prompt's few tokens and the many places of the image, in either direction.

Both directions are written twice. The plain form projects all places to queries, keys and values. The other one
multiplies the projections into the tokens instead, of which there are few, and so works on the places' own channels:

    scores   (X Wk) q    =  X (Wk q)
    values   A (X Wv)    =  (A X) Wv
    output   (A v) Wo    =  A (v Wo)

With N tokens and h heads, N h columns take the place of the inner width, about half as many; and the projections of
the image, each as large as the image itself, are never written.

Axes: B images, P prompts, L places, N tokens, C channels, h heads, d a head's width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..fast.dispatch import enabled as fast_paths_enabled
from ..fast.dispatch import may_read_weights
from .layers import PromptAttention

# Less than what a float32 sum of weights that add up to one can show, and far more than the smallest normal number.
_NO_WEIGHT = 2.0**-100


class ImageAttention(PromptAttention):
    """`read`: tokens attend to the image; `inform`: the image attends to tokens. Parameters as `PromptAttention`."""

    def read(
        self,
        tokens: Tensor,
        placed_image: Tensor,
        image: Tensor,
        bias: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What the tokens (B, P, N, C) read from the image (B, P or 1, L, C): (B, P, N, C), and weights if asked for.

        Keys come from `placed_image`, the image plus its positions; `bias` broadcasts to (B, P, N, L).
        """
        if not self._is_shared(tokens, image) and bias is None and not need_weights and self._is_cheaper(tokens, image):
            return self._read_reassociated(tokens, placed_image, image), None
        return self(tokens, placed_image, image, bias, need_weights)

    def inform(
        self,
        image: Tensor,
        placed_image: Tensor,
        placed_tokens: Tensor,
        tokens: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The image (B, P or 1, L, C) plus what it reads from the tokens (B, P, N, C): (B, P, L, C).

        `placed_tokens` are the keys, `tokens` the values; `mask` (B, P, 1, N) is False for tokens that are not read.
        """
        if self._is_cheaper(tokens, image):
            return self._inform_reassociated(image, placed_image, placed_tokens, tokens, mask)
        return image + self(placed_image, placed_tokens, tokens, mask)[0]

    @staticmethod
    def _is_shared(tokens: Tensor, image: Tensor) -> bool:
        """Whether several prompts have one image, which is projected once anyway: that is cheaper still."""
        return image.shape[1] < tokens.shape[1]

    def _is_cheaper(self, tokens: Tensor, image: Tensor) -> bool:
        """As long as the tokens of all heads are fewer than the inner channels; measured on CPUs in float32."""
        if not fast_paths_enabled() or not may_read_weights(self.q_proj, self.k_proj, self.v_proj, self.o_proj):
            return False
        if torch.compiler.is_compiling():
            return False  # inductor takes these products for attention of another kind, and fails on their shapes
        fewer = tokens.shape[2] * self.num_heads <= self.q_proj.out_features
        return fewer and image.device.type == "cpu" and image.dtype is torch.float32

    def _read_reassociated(self, tokens: Tensor, placed_image: Tensor, image: Tensor) -> Tensor:
        queries = self._spread(self.q_proj(tokens) * self.scaling)
        # The bias of the keys adds the same to all scores of a query, which the softmax takes away again.
        scores = (self.k_proj.weight.T @ queries).transpose(-2, -1) @ placed_image.transpose(-2, -1)
        read = (_weigh(scores, dim=-1) @ image).unflatten(2, (self.num_heads, -1))
        values = self.v_proj.weight.unflatten(0, (self.num_heads, -1))
        # Weights add up to one, so the bias of the values passes through unweighted.
        heads = torch.einsum("bphnc,hdc->bpnhd", read, values).flatten(-2) + self.v_proj.bias
        return self.o_proj(heads)

    def _inform_reassociated(
        self, image: Tensor, placed_image: Tensor, placed_tokens: Tensor, tokens: Tensor, mask: Tensor | None
    ) -> Tensor:
        keys = self._spread(self.k_proj(placed_tokens) * self.scaling)
        if self._is_shared(tokens, image):
            scores = keys.transpose(-2, -1) @ self.q_proj(placed_image).transpose(-2, -1)
        else:
            scores = (self.q_proj.weight.T @ keys).transpose(-2, -1) @ placed_image.transpose(-2, -1)
            scores = scores + (self.q_proj.bias @ keys).unsqueeze(-1)
        # Tokens before places: a softmax over the few tokens then runs along the many places.
        scores = scores.unflatten(2, (self.num_heads, -1))
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(-1), float("-inf"))
        weights = _weigh(scores, dim=-2).flatten(2, 3).transpose(-2, -1)
        # Each head's weights add up to one: an h-th of the bias in every row of every head adds it once.
        values = self._spread(self.v_proj(tokens)).transpose(-2, -1) @ self.o_proj.weight.T
        values = values + self.o_proj.bias / self.num_heads
        image = image.expand(-1, weights.shape[1], -1, -1).flatten(0, 1)
        return torch.baddbmm(image, weights.flatten(0, 1), values.flatten(0, 1)).unflatten(0, weights.shape[:2])

    def _spread(self, tokens: Tensor) -> Tensor:
        """(B, P, N, h * d) to (B, P, h * d, h * N): a column for each head and token, zero outside the head's rows."""
        heads = tokens.unflatten(-1, (self.num_heads, -1)).permute(0, 1, 4, 2, 3)
        return torch.diag_embed(heads, dim1=2, dim2=4).flatten(4, 5).flatten(2, 3)


def _weigh(scores: Tensor, dim: int) -> Tensor:
    """The softmax of scores, with weights that count for nothing set to zero.

    Some of these would be subnormal numbers, each of which holds a CPU's multiplication up for a hundred cycles and
    more: with attention as sharp as it can be here, a click took twice as long.
    """
    return F.threshold(scores.softmax(dim=dim), _NO_WEIGHT, 0.0)
