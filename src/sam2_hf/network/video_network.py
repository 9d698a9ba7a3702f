"""What the video model computes in a frame: its features, masks, pointers and memories.

All methods take and give tensors, and gradients pass through them. Which of them a frame needs is decided in
`tracking`, and what is remembered lies in a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from ..configuration_sam2 import Sam2VideoConfig, as_pair
from ..fast.array_ops import send
from ..fast.compilation import compilable, runs_compiled
from ..modeling_sam2 import Sam2PromptableModel
from ..prompt_values import GIVEN_MASK_BIAS, GIVEN_MASK_SCALE
from .features import FrameFeatures
from .layers import FeedForward, sine_position_encoding
from .mask_decoder import NO_OBJECT_LOGIT, DecodedPrompts
from .memory_attention import MemoryAttention, RotaryTable
from .memory_encoder import MemoryEncoder, MemoryFuserBlock
from .memory_tokens import MemoryTokens, build_memory, pointer_distance_scale


class ObjectMasks(NamedTuple):
    """N objects segmented in a frame: `logits` (N, 1, h, w) float32, `object_score` (N, 1), `iou` (N, 1), and the
    `pointer` (N, C) by which later frames remember them."""

    logits: Tensor
    object_score: Tensor
    iou: Tensor
    pointer: Tensor


class StoredMemories(NamedTuple):
    """What N objects read in a frame, K memories and P pointers each.

    `features` (N, K, D, h, w); `moments` (N, K), rows of the temporal encoding; `pointers` (N, P, C) and how long ago
    they were, `distances` (N, P) as parts of the largest distance in reach, both None without pointers. Moments and
    distances may have one row for all objects.
    """

    features: Tensor
    moments: Tensor
    pointers: Tensor | None
    distances: Tensor | None


class Sam2VideoNetwork(Sam2PromptableModel):
    """The parts of the video model and what each does in one frame: tensors in, tensors out, no state."""

    config_class = Sam2VideoConfig
    base_model_prefix = "sam2_video"
    input_modalities = ("video",)

    def __init__(self, config: Sam2VideoConfig):
        super().__init__(config)
        hidden, width = config.vision_config.fpn_hidden_size, config.memory_encoder_output_channels
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.memory_temporal_positional_encoding = nn.Parameter(torch.zeros(config.num_maskmem, 1, 1, width))
        # In the checkpoints, but never read: frames without memory take `no_memory_embedding` alone.
        self.no_memory_positional_encoding = nn.Parameter(torch.zeros(1, 1, hidden))
        self.object_pointer_proj = FeedForward(hidden, hidden, hidden, num_layers=3)
        self.no_object_pointer = nn.Parameter(torch.zeros(1, hidden))
        # Brings a given mask to the resolution and the range of the decoder's logits.
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.temporal_positional_encoding_projection_layer = (
            nn.Linear(hidden, width) if config.enable_temporal_pos_encoding_for_object_pointers else None
        )
        self.occlusion_spatial_embedding_parameter = (
            nn.Parameter(torch.zeros(1, width)) if config.enable_occlusion_spatial_embedding else None
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MemoryFuserBlock):
            init.constant_(module.scale, self.config.memory_fuser_layer_scale_init_value)
        elif isinstance(module, RotaryTable):
            module.reset_buffers()
        elif isinstance(module, Sam2VideoNetwork):
            for parameter in module.parameters(recurse=False):
                init.trunc_normal_(parameter, std=0.02)

    def encode_frame(self, pixel_values: Tensor) -> FrameFeatures:
        """A frame (1, 3, H, W) to its features, which no memory has touched."""
        finest, middle, coarsest = self._encode_maps(pixel_values)
        return FrameFeatures((finest, middle), coarsest)

    def without_memory(self, features: FrameFeatures) -> Tensor:
        """The embedding (1, C, h, w) for objects that no memory is read for."""
        return features.coarsest + self.no_memory_embedding.view(1, -1, 1, 1)

    def encode_frames(self, pixel_values: Tensor) -> list[FrameFeatures]:
        """Frames (B, 3, H, W), one batch, to the features of each."""
        together = self.encode_frame(pixel_values)
        if len(pixel_values) == 1:
            return [together]
        # Copies: a view would keep the whole batch alive for as long as one frame is.
        levels = [[row.clone() for row in level.split(1)] for level in (*together.fine, together.coarsest)]
        return [FrameFeatures((finest, middle), coarsest) for finest, middle, coarsest in zip(*levels, strict=True)]

    def read_memories(self, features: FrameFeatures, stored: StoredMemories) -> Tensor:
        """The frame's embedding as N objects' memories show it, (N, C, h, w)."""
        if runs_compiled(self):
            # Each program would come twice, with one row for all objects and with a row for each.
            count, distances = len(stored.features), stored.distances
            stored = stored._replace(
                moments=stored.moments.expand(count, -1),
                distances=None if distances is None else distances.expand(count, -1),
            )
        return self._read_memories(features, *stored)

    @compilable("n", maps="nk", moments="nk", pointers="np", distances="np", changing=True)
    def _read_memories(
        self, features: FrameFeatures, maps: Tensor, moments: Tensor, pointers: Tensor | None, distances: Tensor | None
    ) -> Tensor:
        memory = build_memory(
            maps,
            spatial_position=self.memory_position_encoding(),
            temporal_encoding=self.memory_temporal_positional_encoding[moments, 0, 0],
            pointers=pointers,
            pointer_encoding=None if distances is None else self._time_encoding(distances),
        )
        return self.condition_on_memory(features, memory)

    def condition_on_memory(self, features: FrameFeatures, memory: MemoryTokens) -> Tensor:
        """The frame's embedding as N objects' memories show it, (N, C, h, w)."""
        coarsest = features.coarsest
        size = (coarsest.shape[-2], coarsest.shape[-1])
        position = sine_position_encoding(size, coarsest.shape[1], coarsest.device, coarsest.dtype)
        conditioned = self.memory_attention(
            coarsest.flatten(2).transpose(1, 2),
            position.flatten(2).transpose(1, 2),
            memory.tokens,
            memory.position,
            memory.num_pointer_tokens,
        )
        return conditioned.transpose(1, 2).unflatten(2, size)

    def segment(
        self,
        features: FrameFeatures,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        previous_logits: Tensor | None = None,
        multimask: bool = False,
    ) -> ObjectMasks:
        """Masks of B x P objects, from P prompts on each of B embeddings (B, C, h, w).

        `points` (B, P, N, 2) with `labels` (B, P, N), `previous_logits` (B, P, h, w). With `multimask`, the mask
        that scores best of the three; else the single one.
        """
        if runs_compiled(self):
            prompts = self._read_prompts(points, labels, None, previous_logits, len(embedding))
            points, labels = self._program_points(prompts, len(embedding))
            return self._segment_points(features.fine, embedding, points, labels, previous_logits, multimask)
        high_resolution = [*features.fine, embedding]
        decoded = self.decode_prompts(high_resolution, points, labels, input_masks=previous_logits)
        return self._best_masks(decoded, high_resolution, multimask)

    @compilable("bp", embedding="b", points="bp", labels="bp", previous_logits="bp")
    def _segment_points(
        self,
        fine: Sequence[Tensor],
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        previous_logits: Tensor | None,
        multimask: bool,
    ) -> ObjectMasks:
        """`segment` of points that are checked and complete."""
        decoded = self._decode(embedding, points, labels, previous_logits)
        return self._best_masks(decoded, [*fine, embedding], multimask)

    def _best_masks(self, decoded: DecodedPrompts, high_resolution: Sequence[Tensor], multimask: bool) -> ObjectMasks:
        """For every prompt the mask that scores best of the three, or the single one."""
        if multimask:
            masks, ious = self.mask_decoder.multimasks(decoded, high_resolution)
            best = ious.argmax(dim=-1, keepdim=True)
            masks = masks.gather(2, best[..., None, None].expand(-1, -1, -1, *masks.shape[-2:]))
            ious = ious.gather(2, best)
            token = decoded.mask_tokens.gather(
                2, (best + 1).unsqueeze(-1).expand(-1, -1, -1, decoded.mask_tokens.shape[-1])
            )
        else:
            masks, ious = self.mask_decoder.single_mask(decoded, high_resolution)
            token = decoded.mask_tokens[:, :, :1]
        score = decoded.object_score_logits.flatten(0, 1)
        present = score > 0
        logits = masks.flatten(0, 1).float().masked_fill(~present[..., None, None], NO_OBJECT_LOGIT)
        pointer = self._pointer(self.object_pointer_proj(token.flatten(0, 2)), present)
        return ObjectMasks(logits, score.float(), ious.flatten(0, 1).float(), pointer)

    def segment_from_masks(self, features: FrameFeatures, masks: Tensor) -> ObjectMasks:
        """Masks (N, 1, H, W) bool at the model's input size, taken as they are; the decoder adds the pointers."""
        masks = masks.to(features.coarsest.dtype)
        high_resolution = masks.float() * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS
        logits = F.interpolate(
            high_resolution, size=self.prompt_encoder.mask_input_size, mode="bilinear", antialias=True
        )
        prompts = self.mask_downsample(masks).transpose(0, 1)
        pointer = self.segment(features, features.coarsest, previous_logits=prompts).pointer
        present = masks.flatten(1).any(dim=1, keepdim=True)
        score = present.float() * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS
        return ObjectMasks(logits, score, torch.ones_like(score), self._pointer(pointer, present))

    @compilable("n", logits="n", object_score="n", binarize="n")
    def encode_memory(self, features: FrameFeatures, logits: Tensor, object_score: Tensor, binarize: Tensor) -> Tensor:
        """What N objects will be remembered by, (N, D, h, w), from their masks' logits (N, 1, h, w).

        `binarize` (N,) tells whose mask is taken as certain, foreground or not, because a user prompted it.
        """
        size = as_pair("image_size", self.config.image_size)
        logits = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        masks = torch.where(binarize[:, None, None, None], (logits > 0).float(), logits.sigmoid())
        masks = masks * self.config.sigmoid_scale_for_mem_enc + self.config.sigmoid_bias_for_mem_enc
        memory = self.memory_encoder(features.coarsest, masks.to(features.coarsest.dtype))
        if self.occlusion_spatial_embedding_parameter is not None:
            absent = (object_score <= 0)[..., None, None]
            memory = memory + absent * self.occlusion_spatial_embedding_parameter[..., None, None]
        return memory

    def memory_position_encoding(self) -> Tensor:
        """The encoding of the places of a memory, (D, h, w)."""
        return self.memory_encoder.position_encoding(self.prompt_encoder.image_embedding_size)[0]

    def pointer_time_encoding(self, distances: Sequence[Sequence[int]], num_frames: int | None) -> Tensor | None:
        """The encoding of how many frames ago pointers are from, (rows, pointers, D); None in SAM 2.0.

        `num_frames` is the length of the clip, None for a stream.
        """
        return self._time_encoding(self.pointer_distances(distances, num_frames))

    def pointer_distances(self, distances: Sequence[Sequence[int]], num_frames: int | None) -> Tensor:
        """Numbers of frames as parts of the largest distance in reach, (rows, pointers)."""
        return send(distances, self.device, torch.float32) / pointer_distance_scale(
            self.config.max_object_pointers_in_encoder, num_frames
        )

    def _time_encoding(self, distances: Tensor) -> Tensor | None:
        """The encoding (rows, pointers, D) of what `pointer_distances` gave."""
        projection = self.temporal_positional_encoding_projection_layer
        if projection is None:
            return None
        hidden = projection.in_features
        index = torch.arange(hidden // 2, device=distances.device, dtype=torch.float32)
        periods = 10000.0 ** (2 * torch.div(index, 2, rounding_mode="floor") / (hidden // 2))
        angles = distances.unsqueeze(-1) / periods
        return projection(torch.cat((angles.sin(), angles.cos()), dim=-1).to(projection.weight.dtype))

    def _pointer(self, pointer: Tensor, present: Tensor) -> Tensor:
        """Pointers (N, C), those of absent objects replaced; `present` is (N, 1)."""
        return torch.where(present, pointer, self.no_object_pointer)
