"""What the video model computes in a frame: its features, masks, pointers and memories.

All methods take and give tensors, and gradients pass through them. Which of them a frame needs is decided in
`tracking`, and what is remembered lies in a session.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from ..configuration_sam2 import Sam2VideoConfig
from ..prompt_values import GIVEN_MASK_BIAS, GIVEN_MASK_SCALE
from ..sizes import read_size
from .features import FrameFeatures, ObjectMasks, StoredMemories, StoredShapes, pointer_distance_scale, uses_multimask
from .layers import FeedForward, sine_position_encoding
from .mask_decoder import NO_OBJECT_LOGIT, Candidates, take
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .memory_tokens import MemoryTokens, build_memory, scale_keys
from .promptable_network import Sam2PromptableNetwork


class Sam2VideoNetwork(Sam2PromptableNetwork):
    """The parts of the video model and what each does in one frame: tensors in, tensors out, no state."""

    config_class = Sam2VideoConfig
    base_model_prefix = "sam2_video"
    input_modalities = ("video",)

    def __init__(self, config: Sam2VideoConfig):
        super().__init__(config)
        hidden, width = config.vision_config.fpn_hidden_size, config.memory_encoder_output_channels
        self.mem_dim, self.num_maskmem, self.image_size = width, config.num_maskmem, config.image_size
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
    def initialise(self) -> None:
        """Gives the parameters that belong to no part their first values."""
        super().initialise()
        for parameter in self.parameters(recurse=False):
            init.trunc_normal_(parameter, std=0.02)

    def stored_shapes(self) -> StoredShapes:
        """The shapes of what a session stores of an object."""
        return StoredShapes(
            tuple(self.prompt_encoder.mask_input_size),
            (self.memory_encoder.memory_width, *self.prompt_encoder.image_embedding_size),
            tuple(self.no_object_pointer.shape[-1:]),
        )

    def encode_frame(self, pixel_values: Tensor) -> FrameFeatures:
        """A frame (1, 3, H, W) to its features, which no memory has touched."""
        finest, middle, coarsest = self.encode_maps(pixel_values)
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

    def read_memories(self, features: FrameFeatures, stored: StoredMemories, key_scale: Tensor | None = None) -> Tensor:
        """The frame's embedding as N objects' memories show it, (N, C, h, w).

        `key_scale` (N, K) are factors for the keys of the spatial memories.
        """
        if key_scale is None:
            return self.read_stored(features, *stored)
        return self.condition_on_memory(features, scale_keys(self.as_tokens(*stored), key_scale))

    def read_stored(
        self,
        features: FrameFeatures,
        maps: Tensor,
        temporal_indices: Tensor,
        pointers: Tensor | None,
        distances: Tensor | None,
    ) -> Tensor:
        """`read_memories` with the fields of the stored memories one by one."""
        return self.condition_on_memory(features, self.as_tokens(maps, temporal_indices, pointers, distances))

    def as_tokens(
        self, maps: Tensor, temporal_indices: Tensor, pointers: Tensor | None, distances: Tensor | None
    ) -> MemoryTokens:
        """The fields of `StoredMemories` as memory attention reads them."""
        return build_memory(
            maps,
            spatial_position=self.memory_position_encoding(),
            temporal_encoding=self.memory_temporal_positional_encoding[temporal_indices, 0, 0],
            pointers=pointers,
            pointer_encoding=None if distances is None else self.time_encoding(distances),
        )

    def condition_on_memory(
        self, features: FrameFeatures, memory: MemoryTokens, memory_mask: Tensor | None = None
    ) -> Tensor:
        """The frame's embedding as N objects' memories show it, (N, C, h, w).

        `memory_mask` (N, tokens) is False for tokens that are padding.
        """
        coarsest = features.coarsest
        size = (coarsest.shape[-2], coarsest.shape[-1])
        position = sine_position_encoding(size, coarsest.shape[1], coarsest.device, coarsest.dtype)
        conditioned = self.memory_attention.condition(
            coarsest.flatten(2).transpose(1, 2),
            position.flatten(2).transpose(1, 2),
            memory.tokens,
            memory.position,
            memory.num_pointer_tokens,
            memory_mask,
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
        return self.choose(self.candidates(features, embedding, points, labels, previous_logits, multimask))

    def candidates(
        self,
        features: FrameFeatures,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        previous_logits: Tensor | None = None,
        multimask: bool = False,
    ) -> Candidates:
        """All masks that may be taken for the objects of `segment`, whose arguments these are."""
        decoded = self.decode(embedding, points, labels, masks=previous_logits)
        return self.mask_decoder.candidates(decoded, [*features.fine, embedding], multimask)

    def uses_multimask(self, num_points: int, reads_memory: bool) -> bool:
        """Whether several masks are predicted and one is taken: for few points, where one click is ambiguous."""
        return uses_multimask(self.config, num_points, reads_memory)

    def choose(self, candidates: Candidates, chosen: Tensor | None = None) -> ObjectMasks:
        """One candidate of every object, by default the one with the highest estimated IoU.

        Its mask is empty where the object is judged absent. `chosen` (N,) int64 takes others.
        """
        masks, iou, token = take(candidates, chosen)
        visible = candidates.object_score > 0
        return ObjectMasks(
            masks.masked_fill(~visible[..., None, None], NO_OBJECT_LOGIT),
            candidates.object_score.float(),
            iou,
            self.pointer(self.object_pointer_proj(token), visible),
        )

    def segment_from_masks(self, features: FrameFeatures, masks: Tensor) -> ObjectMasks:
        """Masks (N, 1, H, W) bool at the model's input size, taken as they are; the decoder adds the pointers."""
        masks = masks.to(features.coarsest.dtype)
        high_resolution = masks.float() * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS
        logits = F.interpolate(
            high_resolution, size=self.prompt_encoder.mask_input_size, mode="bilinear", antialias=True
        )
        prompts = self.mask_downsample(masks).transpose(0, 1)
        pointer = self.segment(features, features.coarsest, previous_logits=prompts).pointer
        visible = masks.flatten(1).any(dim=1, keepdim=True)
        score = visible.float() * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS
        return ObjectMasks(logits, score, torch.ones_like(score), self.pointer(pointer, visible))

    def encode_memory(self, features: FrameFeatures, logits: Tensor, object_score: Tensor, binarize: Tensor) -> Tensor:
        """What N objects will be remembered by, (N, D, h, w), from their masks' logits (N, 1, h, w).

        `binarize` (N,) tells whose mask is taken as certain, foreground or not, because a user prompted it.
        """
        size = read_size(self.config.image_size, "image_size")
        logits = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        masks = torch.where(binarize[:, None, None, None], (logits > 0).float(), logits.sigmoid())
        masks = masks * self.config.sigmoid_scale_for_mem_enc + self.config.sigmoid_bias_for_mem_enc
        memory = self.memory_encoder.encode(features.coarsest, masks.to(features.coarsest.dtype))
        if self.occlusion_spatial_embedding_parameter is not None:
            absent = (object_score <= 0)[..., None, None]
            memory = memory + absent * self.occlusion_spatial_embedding_parameter[..., None, None]
        return memory

    def memory_position_encoding(self) -> Tensor:
        """The encoding of the positions of a memory, (D, h, w)."""
        return self.memory_encoder.position_encoding(self.prompt_encoder.image_embedding_size)[0]

    def pointer_time_encoding(self, distances: Tensor, num_frames: int | None) -> Tensor | None:
        """The encoding of how many frames ago pointers are from, (rows, pointers, D); None in SAM 2.0.

        Arguments as those of `pointer_distances`.
        """
        return self.time_encoding(self.pointer_distances(distances, num_frames))

    def pointer_distances(self, distances: Tensor, num_frames: int | None) -> Tensor:
        """Numbers of frames (rows, pointers) as parts of the largest distance in reach, float32.

        `num_frames` is the length of the clip, None for a stream.
        """
        return distances.float() / pointer_distance_scale(self.config.max_object_pointers_in_encoder, num_frames)

    def time_encoding(self, distances: Tensor) -> Tensor | None:
        """The encoding (rows, pointers, D) of what `pointer_distances` gave."""
        projection = self.temporal_positional_encoding_projection_layer
        if projection is None:
            return None
        hidden = projection.in_features
        index = torch.arange(hidden // 2, device=distances.device, dtype=torch.float32)
        periods = 10000.0 ** (2 * torch.div(index, 2, rounding_mode="floor") / (hidden // 2))
        angles = distances.unsqueeze(-1) / periods
        return projection(torch.cat((angles.sin(), angles.cos()), dim=-1).to(self.no_object_pointer.dtype))

    def pointer(self, pointer: Tensor, visible: Tensor) -> Tensor:
        """Pointers (N, C), those of absent objects replaced; `visible` is (N, 1)."""
        return torch.where(visible, pointer, self.no_object_pointer)
