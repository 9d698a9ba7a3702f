"""Memory attention: conditions the features of a frame on what is remembered of each object.

Axes in docstrings: N objects, L positions of the image map (row by row), M memory tokens, C hidden width, D memory
width, h heads, d a head's width. An axis "1 or N" of length 1 means that all objects share the entry; nothing is
computed twice for it.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714), section 4, memory attention;
rotary encoding in two dimensions: Heo et al. (arXiv 2403.13298).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .layers import attend, is_exported, replaceable

if TYPE_CHECKING:
    from ..configuration_sam2 import Sam2VideoConfig

# How much of the image's position encoding is added to its features before the first layer.
POSITION_WEIGHT = 0.1


class RotaryTable(nn.Module):
    """Cosine and sine of the angles by which each position of a map turns the pairs of a head's channels.

    `width` and `height` are those of the map. Consecutive channels form a pair; the first half of the pairs turns
    with x, the second half with y. Not part of a checkpoint.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, height: int, head_width: int, theta: float = 10000.0):
        super().__init__()
        if head_width % 4:
            raise ValueError(f"the width of an attention head must be a multiple of 4 to be rotated, got {head_width}")
        self.width, self.height, self.head_width, self.theta = width, height, head_width, theta
        cos, sin = self._build()
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _build(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Two tables (L, 1, d/2) in float32; the middle axis is for the heads."""
        exponents = torch.arange(0, self.head_width, 4, device=device, dtype=torch.float32) / self.head_width
        frequencies = 1.0 / self.theta**exponents
        x = torch.arange(self.width, device=device, dtype=torch.float32).repeat(self.height)
        y = torch.arange(self.height, device=device, dtype=torch.float32).repeat_interleave(self.width)
        angles = torch.cat((torch.outer(x, frequencies), torch.outer(y, frequencies)), dim=-1).unsqueeze(1)
        return angles.cos(), angles.sin()

    def initialise(self) -> None:
        """Fills the tables again, for models that are first built without data (on the meta device)."""
        self.cos, self.sin = self._build(self.cos.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RotaryTable:
        """Moves with the model but stays in float32: half precision would misplace tokens by whole cells."""
        super()._apply(fn, recurse)
        if self.cos.dtype != torch.float32:
            self.initialise()
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        """Rotates (N, L * k, h, d): k maps one after the other, each with the same positions."""
        maps = tokens.unflatten(1, (-1, self.cos.shape[0])).float()
        first, second = maps.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((first * self.cos - second * self.sin, second * self.cos + first * self.sin), dim=-1)
        return turned.flatten(-2).flatten(1, 2).to(tokens.dtype)


class RotaryAttention(nn.Module):
    """Attention from the positions of the current frame, with rotary position encoding.

    Queries, keys with values, and the attention itself are separate methods: keys and values of a memory can be built
    before the frame that reads them is known.
    """

    def __init__(self, config: Sam2VideoConfig, memory_width: int | None = None):
        super().__init__()
        hidden = config.memory_attention_hidden_size
        inner = hidden // config.memory_attention_downsample_rate
        source = hidden if memory_width is None else memory_width
        self.config = config
        self.num_heads = config.memory_attention_num_attention_heads
        self.scaling = (inner // self.num_heads) ** -0.5
        self.dropout = config.memory_attention_rope_dropout
        self.is_causal = False
        self.q_proj = nn.Linear(hidden, inner)
        self.k_proj = nn.Linear(source, inner)
        self.v_proj = nn.Linear(source, inner)
        self.o_proj = nn.Linear(inner, hidden)

    def queries(self, hidden: Tensor, rotary: RotaryTable) -> Tensor:
        """(1 or N, L, C) to (1 or N, h, L, d)."""
        return rotary(self._split_heads(self.q_proj(hidden))).transpose(1, 2)

    def keys_and_values(
        self, key_source: Tensor, value_source: Tensor, rotary: RotaryTable, num_unrotated: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Keys from (1 or N, M, D) and values from (N, M, D), as (N, h, M, d).

        The last `num_unrotated` tokens have no position in the image: their keys are not rotated.
        """
        keys = self._split_heads(self.k_proj(key_source))
        num_rotated = keys.shape[1] - num_unrotated
        if num_unrotated == 0:
            keys = rotary(keys)
        else:
            keys = torch.cat((rotary(keys[:, :num_rotated]), keys[:, num_rotated:]), dim=1)
        return keys.transpose(1, 2), self._split_heads(self.v_proj(value_source)).transpose(1, 2)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(1 or N, h, L, d) and (N, h, M, d) to (N, L, C); `mask` (N, 1, 1, M) is True where a token is read."""
        queries = queries.expand(values.shape[0], -1, -1, -1)
        keys = keys.expand(values.shape[0], -1, -1, -1)
        result, _ = attend(self, queries, keys, values, self.scaling, mask=mask, dropout=self.dropout)
        return self.o_proj(result.flatten(2))

    def read(
        self,
        hidden: Tensor,
        key_source: Tensor,
        value_source: Tensor,
        rotary: RotaryTable,
        num_unrotated: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """What the positions (1 or N, L, C) read, (N, L, C); the other arguments as in the methods above."""
        queries = self.queries(hidden, rotary)
        return self.attend(queries, *self.keys_and_values(key_source, value_source, rotary, num_unrotated), mask=mask)

    def _split_heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1))


class MemoryAttentionLayer(GradientCheckpointingLayer):
    """Self-attention over the image, cross-attention to the memory, feed-forward; each after a norm."""

    def __init__(self, config: Sam2VideoConfig):
        super().__init__()
        hidden, inner = config.memory_attention_hidden_size, config.memory_attention_feed_forward_hidden_size
        self.self_attn = RotaryAttention(config)
        self.cross_attn_image = RotaryAttention(config, config.memory_encoder_output_channels)
        self.linear1 = nn.Linear(hidden, inner)
        self.linear2 = nn.Linear(inner, hidden)
        self.layer_norm1 = nn.LayerNorm(hidden)
        self.layer_norm2 = nn.LayerNorm(hidden)
        self.layer_norm3 = nn.LayerNorm(hidden)
        self.activation = ACT2FN[config.memory_attention_feed_forward_hidden_act]
        self.dropout = nn.Dropout(config.memory_attention_dropout)

    @replaceable
    def forward(
        self,
        hidden: Tensor,
        key_source: Tensor,
        value_source: Tensor,
        rotary: RotaryTable,
        num_pointer_tokens: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """`hidden` (1 or N, L, C) to (N, L, C); sources of keys (1 or N, M, D) and values (N, M, D).

        What is shared by the objects stays so up to the cross-attention: in the first layer the self-attention sees
        the image alone and runs once for all of them.
        """
        normed = self.layer_norm1(hidden)
        hidden = hidden + self.dropout(self.self_attn.read(normed, normed, normed, rotary))
        sources = (key_source, value_source, rotary, num_pointer_tokens, mask)
        hidden = hidden + self.dropout(self.cross_attn_image.read(self.layer_norm2(hidden), *sources))
        return self.feed_forward(hidden)

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """The last third of the layer, (..., C) to the same."""
        inner = self.dropout(self.activation(self.linear1(self.layer_norm3(hidden))))
        return hidden + self.dropout(self.linear2(inner))


class MemoryAttention(nn.Module):
    """Conditions the features of one frame on the memories of its objects, all objects in one batch."""

    def __init__(self, config: Sam2VideoConfig):
        super().__init__()
        hidden = config.memory_attention_hidden_size
        inner, heads = (
            hidden // config.memory_attention_downsample_rate,
            config.memory_attention_num_attention_heads,
        )
        if inner % heads:
            raise ValueError(f"memory_attention_num_attention_heads {heads} must divide the inner width {inner}")
        width, height = config.memory_attention_rope_feat_sizes
        theta = (config.rope_parameters or {}).get("rope_theta", 10000.0)
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.memory_attention_num_layers))
        self.layer_norm = nn.LayerNorm(hidden)
        self.rotary = RotaryTable(width, height, inner // heads, theta)

    def forward(
        self,
        current_vision_features: Tensor,
        memory: Tensor,
        current_vision_position_embeddings: Tensor | None = None,
        memory_posision_embeddings: Tensor | None = None,
        num_object_pointer_tokens: int = 0,
    ) -> Tensor:
        """Conditions a frame as transformers' memory attention does, which puts positions before objects.

        Args:
            current_vision_features: (L, 1 or N, C).
            memory: (M, N, D), whole maps of L tokens first, then the pointers' tokens.
            current_vision_position_embeddings: broadcasts to the features.
            memory_posision_embeddings: (M, 1 or N, D); the name is spelled as in transformers.
            num_object_pointer_tokens: how many tokens at the end of the memory belong to pointers.

        Returns:
            (1, N, L, C).

        Raises:
            ValueError: as `condition`.
        """
        position, memory_position = current_vision_position_embeddings, memory_posision_embeddings
        return self.condition(
            current_vision_features.transpose(0, 1),
            current_vision_features.new_zeros(()) if position is None else position.transpose(0, 1),
            memory.transpose(0, 1),
            memory.new_zeros(()) if memory_position is None else memory_position.transpose(0, 1),
            num_object_pointer_tokens,
        ).unsqueeze(0)

    def condition(
        self,
        current: Tensor,
        current_position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        num_pointer_tokens: int = 0,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Features of the frame as each object sees them, (N, L, C).

        Args:
            current: (1 or N, L, C), the features of the frame; 1 if all objects are in the same frame.
            current_position: broadcasts to `current`, its sine position encoding.
            memory: (N, M, D), whole maps of L tokens first, then the pointers' tokens.
            memory_position: (1 or N, M, D), the encoding of position and time of the memory.
            num_pointer_tokens: how many tokens at the end of the memory belong to pointers.
            memory_mask: (N, M) bool, False for padding, which is then not read. None reads everything.

        Raises:
            ValueError: if the map or the memory does not have the size that the config names.
        """
        if not is_exported():
            self._check_lengths(current, memory, num_pointer_tokens)
        hidden = current + POSITION_WEIGHT * current_position
        mask = None if memory_mask is None else memory_mask[:, None, None, :]
        key_source = memory + memory_position
        for layer in self.layers:
            hidden = layer(hidden, key_source, memory, self.rotary, num_pointer_tokens, mask)
        return self.layer_norm(hidden)

    def _check_lengths(self, current: Tensor, memory: Tensor, num_pointer_tokens: int) -> None:
        positions = self.rotary.width * self.rotary.height
        if current.shape[1] != positions:
            raise ValueError(
                f"current has {current.shape[1]} positions, but the config names a map of {self.rotary.width} x "
                f"{self.rotary.height} = {positions} (memory_attention_rope_feat_sizes)"
            )
        if (memory.shape[1] - num_pointer_tokens) % positions:
            raise ValueError(
                f"memory has {memory.shape[1]} tokens, {num_pointer_tokens} of them pointers: the rest must be whole "
                f"maps of {positions} tokens"
            )
