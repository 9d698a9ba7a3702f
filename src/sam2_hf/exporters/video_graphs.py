"""The video side as modules of tensors alone, one for each graph; all of them batched over the objects of one frame.

Axes: N objects, M spatial memories, L object pointers, K points, C channels, D memory width, h and w the coarsest map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..network.features import FrameFeatures
from ..network.memory_tokens import MemoryTokens, memory_mask, scale_keys
from .image_graphs import share_axis

if TYPE_CHECKING:
    from ..network.video_network import Sam2VideoNetwork


class VideoGraph(nn.Module):
    """What the graphs share: a video model."""

    def __init__(self, model: Sam2VideoNetwork):
        super().__init__()
        self.model = model


class MemoryAttentionGraph(VideoGraph):
    """The frame's features as N objects' memories show them, (N, C, h, w)."""

    def forward(
        self,
        features: Tensor,
        memories: Tensor,
        temporal_indices: Tensor,
        key_scales: Tensor,
        pointers: Tensor,
        distances: Tensor,
    ) -> Tensor:
        """`features` (1, C, h, w); `memories` (N, M, D, h, w) with `temporal_indices` and `key_scales` (N, M);
        `pointers` (N, L, C) with `distances` (N, L), as `pointer_distances` gives them."""
        memory = self._tokens(memories, temporal_indices, key_scales, pointers, distances)
        return self.model.condition_on_memory(_without_fine(features), memory)

    def _tokens(
        self, memories: Tensor, temporal_indices: Tensor, key_scales: Tensor, pointers: Tensor, distances: Tensor
    ) -> MemoryTokens:
        share_axis(0, memories, temporal_indices, key_scales, pointers, distances)
        return scale_keys(self.model.as_tokens(memories, temporal_indices, pointers, distances), key_scales)


class FixedMemoryAttentionGraph(MemoryAttentionGraph):
    """The same for compilers that want fixed lengths: always M memories and L pointers, of which some are padding."""

    def forward(  # type: ignore[override]  # more inputs
        self,
        features: Tensor,
        memories: Tensor,
        temporal_indices: Tensor,
        key_scales: Tensor,
        valid_memories: Tensor,
        pointers: Tensor,
        distances: Tensor,
        valid_pointers: Tensor,
    ) -> Tensor:
        """`valid_memories` (N, M) and `valid_pointers` (N, L) are bool, False for padding."""
        memory = self._tokens(memories, temporal_indices, key_scales, pointers, distances)
        mask = memory_mask(
            valid_memories,
            memories.shape[-2] * memories.shape[-1],
            valid_pointers,
            pointers.shape[-1] // memories.shape[2],
        )
        return self.model.condition_on_memory(_without_fine(features), memory, mask)


class TrackedDecoderGraph(VideoGraph):
    """Objects decoded in a frame, each from features of its own: candidates with scores and pointers."""

    def forward(
        self,
        finest: Tensor,
        middle: Tensor,
        conditioned: Tensor,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The frame's finer maps (1, ...); `conditioned` (N, C, h, w); `points` (N, K, 2) with `labels` (N, K); `masks`
        (N, h, w), the previous logits.

        Returns logits (N, 3, h, w), IoU scores (N, 3) and pointers (N, 3, C) of the multimask outputs, the same of the
        single mask, and object scores (N, 1).
        """
        model = self.model
        share_axis(0, conditioned, points, labels, *(() if masks is None else (masks,)))
        previous = None if masks is None else masks.unsqueeze(1)
        decoded = model.decode(conditioned, points.unsqueeze(1), labels.unsqueeze(1), masks=previous)
        logits = model.mask_decoder.masks(decoded, (finest, middle))
        single, single_score = model.mask_decoder.single_of(logits, decoded.iou_scores)
        visible = decoded.object_score_logits > 0
        pointers = model.pointer(model.object_pointer_proj(decoded.mask_tokens), visible.unsqueeze(-1))
        three = (logits[:, 0, 1:], decoded.iou_scores[:, 0, 1:], pointers[:, 0, 1:])
        return *three, single[:, 0], single_score[:, 0], pointers[:, 0, :1], decoded.object_score_logits[:, 0]


class MaskTrackedDecoderGraph(TrackedDecoderGraph):
    """The same with previous logits, which a prompt corrects."""

    def forward(  # type: ignore[override]  # the mask is needed
        self, finest: Tensor, middle: Tensor, conditioned: Tensor, points: Tensor, labels: Tensor, masks: Tensor
    ) -> tuple[Tensor, ...]:
        return super().forward(finest, middle, conditioned, points, labels, masks)


class GivenMaskGraph(VideoGraph):
    """Masks that a user gives, taken as they are: logits, IoU, object score and pointer."""

    def forward(self, finest: Tensor, middle: Tensor, features: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """The frame's maps without memory (1, ...) and `masks` (N, H, W), 0 or 1, at the model's input size."""
        given = self.model.segment_from_masks(FrameFeatures((finest, middle), features), masks.unsqueeze(1) > 0)
        return given.logits, given.iou, given.object_score, given.pointer.unsqueeze(1)


class MemoryEncoderGraph(VideoGraph):
    """What objects will be remembered by, (N, D, h, w)."""

    def forward(self, features: Tensor, logits: Tensor, object_score: Tensor, binarize: Tensor) -> Tensor:
        """`features` (1, C, h, w); `logits` (N, 1, h, w); `object_score` (N, 1); `binarize` (N,) bool."""
        return self.model.encode_memory(_without_fine(features), logits, object_score, binarize)


class PointerTimeGraph(VideoGraph):
    """The encoding (N, L, D) of how long ago pointers were, from parts of the largest distance (N, L)."""

    def forward(self, distances: Tensor) -> Tensor:
        encoding = self.model.time_encoding(distances)
        assert encoding is not None, "exported for models that have a projection alone"
        return encoding


def _without_fine(features: Tensor) -> FrameFeatures:
    """Features for methods that read the coarsest map alone."""
    return FrameFeatures((features, features), features)
