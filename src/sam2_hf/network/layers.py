"""Layers shared by the parts of the model: MLP, norm over channels, attention, sine encodings; and `replaceable`.

A function or method of the network that is marked `replaceable` may be computed in another form: the same arithmetic
in another order. The network defines no such forms and chooses none; `enter_forms` is told of them. Without that, and
whenever the network is traced, everything is computed as it is written here.

Axes in docstrings: B images, P prompts (objects) of an image, N tokens, C channels, H and W the map, h heads, d a
head's width.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Function = TypeVar("Function", bound=Callable[..., Any])
# When a form suits, asked with the arguments of the call, and the form itself.
Form = tuple[Callable[..., bool], Callable[..., Any]]

_forms: dict[str, Form] = {}
_forms_are_wanted: ContextVar[bool] = ContextVar("no forms are entered", default=False)


def enter_forms(forms: Mapping[str, Form], are_wanted: ContextVar[bool]) -> None:
    """Makes other forms of replaceable functions known.

    Args:
        forms: by qualified names ("TwoWayTransformer.forward"), each with the condition under which it is used.
        are_wanted: whether any of them is used, in the context that asks.
    """
    global _forms_are_wanted
    _forms.update(forms)
    _forms_are_wanted = are_wanted


def is_traced() -> bool:
    """Whether the calls made now are recorded, by `torch.compile`, `torch.export` or `torch.jit.trace`.

    What is recorded is the network as it is written.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_exported() -> bool:
    """Whether the calls made now are recorded for use elsewhere, by `torch.export` or `torch.jit.trace`.

    Then sizes are variables, and no arguments are checked.
    """
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def replaceable(plain: Function) -> Function:
    """Marks a function or method that may have another form, which takes the same arguments and gives the same."""
    name = plain.__qualname__

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        # `is_traced`, spelled out: nothing is asked more often.
        is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if not is_traced and _forms_are_wanted.get() and name in _forms:
            suits, form = _forms[name]
            if suits(*args, **kwargs):
                return form(*args, **kwargs)
        return plain(*args, **kwargs)

    return cast(Function, call)


class FeedForward(nn.Module):
    """A multi-layer perceptron of `num_layers` linear layers; `sigmoid_output` maps the result into (0, 1)."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        activation: str = "relu",
        sigmoid_output: bool = False,
    ):
        super().__init__()
        self.proj_in = nn.Linear(input_dim, hidden_dim)
        self.layers = nn.ModuleList(nn.Linear(hidden_dim, hidden_dim) for _ in range(num_layers - 2))
        self.proj_out = nn.Linear(hidden_dim, output_dim)
        self.activation = ACT2FN[activation]
        self.sigmoid_output = sigmoid_output

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.activation(self.proj_in(hidden))
        for layer in self.layers:
            hidden = self.activation(layer(hidden))
        hidden = self.proj_out(hidden)
        return hidden.sigmoid() if self.sigmoid_output else hidden


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map (B, C, H, W)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention spelled out, in the signature of transformers' attention functions.

    `query` (B, h, N, d), `key` and `value` (B, h, M, d); `attention_mask` broadcasts to (B, h, N, M), boolean (True
    is read) or additive. Returns the result (B, N, h, d) and the weights (B, h, N, M).
    """
    scores = query @ key.transpose(-2, -1) * scaling
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, float("-inf"))
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    dropped = F.dropout(weights, p=dropout, training=module.training)
    return (dropped @ value).transpose(1, 2), weights


@replaceable
def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Runs the attention implementation that `module.config` names; shapes as in `eager_attention`.

    The weights are None unless `need_weights` asks for them.
    Flash kernels take no mask and fused kernels give no weights: where one is needed, this one call falls back to
    sdpa or eager.
    """
    name = getattr(module.config, "_attn_implementation", None) or "sdpa"
    dropout = dropout if module.training else 0.0
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query.dtype)  # fused kernels insist on it; half precision and autocast change the query's
    if need_weights:
        name = "eager"
    elif mask is not None and "flash" in name:
        name = "sdpa"
    function = eager_attention if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
    result, weights = function(module, query, key, value, mask, scaling=scaling, dropout=dropout, is_causal=False)
    return result, weights if need_weights else None


class PromptAttention(nn.Module):
    """Multi-head attention between the prompts' tokens and the image, optionally in a narrower inner space.

    Query and key may differ in their prompt axis: one of them may have a single entry that holds for every prompt.
    It is then projected once.
    """

    def __init__(self, config: PreTrainedConfig, downsample_rate: int | None = None):
        super().__init__()
        rate = config.attention_downsample_rate if downsample_rate is None else downsample_rate
        inner = config.hidden_size // rate
        self.config = config
        self.num_heads = config.num_attention_heads
        self.scaling = (inner // self.num_heads) ** -0.5
        self.q_proj = nn.Linear(config.hidden_size, inner)
        self.k_proj = nn.Linear(config.hidden_size, inner)
        self.v_proj = nn.Linear(config.hidden_size, inner)
        self.o_proj = nn.Linear(inner, config.hidden_size)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`query` (B, P or 1, N, C), `key` and `value` (B, P or 1, M, C), `mask` broadcasts to (B, P, N, M).

        Returns the result (B, P, N, C) and the weights (B, P, h, N, M) if asked for.
        """
        batch, prompts, length = query.shape[0], max(query.shape[1], key.shape[1]), query.shape[2]
        query, key, value = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        if key.shape[1] == 1 and mask is None and not need_weights:
            # Prompts that read the same keys are just more queries of one attention: (B, P, N) -> (B, P * N).
            query = query.flatten(1, 2).unsqueeze(1)
        entries = max(query.shape[1], key.shape[1])
        query, key, value = self._split_heads(entries, query, key, value)
        if mask is not None:
            mask = mask.expand(batch, prompts, *mask.shape[2:]).flatten(0, 1).unsqueeze(1)
        result, weights = attend(self, query, key, value, self.scaling, mask, need_weights=need_weights)
        result = self.o_proj(result.reshape(batch, prompts, length, -1))
        return result, None if weights is None else weights.unflatten(0, (batch, prompts))

    def _split_heads(self, entries: int, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """Each of (B, P or 1, N, C) to (B * P, h, N, d)."""
        heads = []
        for tensor in tensors:
            rows = tensor.expand(-1, entries, -1, -1).flatten(0, 1)
            heads.append(rows.unflatten(-1, (self.num_heads, -1)).transpose(1, 2))
        return heads


def sine_position_encoding(
    size: tuple[int, int],
    channels: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    temperature: float = 10000.0,
) -> torch.Tensor:
    """Sine encoding of the positions of a map, (1, C, H, W): the first half of the channels tells y, the other x.

    Positions run from 1/H to 1 and are scaled by 2 pi; sine and cosine alternate (as in DETR, arXiv 2005.12872).
    Computed in float32, whatever `dtype` is asked for.
    """
    half = channels // 2
    index = torch.arange(half, device=device, dtype=torch.float32)
    periods = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    axes = []
    for length in size:
        position = torch.arange(1, length + 1, device=device, dtype=torch.float32)
        angles = (position / (length + 1e-6) * 2 * math.pi)[:, None] / periods
        axes.append(torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=-1).flatten(1))
    rows = axes[0][:, None, :].expand(*size, -1)
    columns = axes[1][None, :, :].expand(*size, -1)
    return torch.cat((rows, columns), dim=-1).permute(2, 0, 1).unsqueeze(0).to(dtype)
