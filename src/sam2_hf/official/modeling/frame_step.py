"""One frame segmented with memories that a program keeps itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...network.features import FrameFeatures
from ...network.video_network import GIVEN_MASK_BIAS, GIVEN_MASK_SCALE, ObjectMasks, StoredMemories
from ...sizes import read_size
from ...tracking.memory.history import FrameSets
from ..engine import OfficialVideoModel

Outputs = dict[str, Any]


@dataclass(frozen=True)
class TrackStep:
    """What `SAM2Base.track_step` does.

    Args:
        network: computes.
        outputs: earlier returns, under `cond_frame_outputs` and `non_cond_frame_outputs`, by frame.
        frame_idx: the frame's number.
        num_frames: length of the video, None if it is not known.
        reverse: whether memories of later frames are read.
    """

    network: OfficialVideoModel
    outputs: Mapping[str, Mapping[int, Outputs]]
    frame_idx: int
    num_frames: int | None
    reverse: bool

    def read_features(self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> FrameFeatures:
        """The frame's maps (positions, rows, channels), of which the first row is taken, as the network reads them."""
        finest, middle, coarsest = (
            level[:, :1].permute(1, 2, 0).unflatten(2, tuple(size)) for level, size in zip(maps, sizes, strict=True)
        )
        return FrameFeatures((finest, middle), coarsest)

    def segment(
        self,
        features: FrameFeatures,
        reads_nothing: bool,
        point_inputs: dict[str, Tensor] | None,
        mask_inputs: Tensor | None,
        previous_logits: Tensor | None,
    ) -> Outputs:
        """Masks, pointers and object scores of all objects."""
        network = self.network
        if mask_inputs is not None:
            masks = network.segment_from_masks(features, mask_inputs.to(network.device) > 0)
        else:
            if reads_nothing:
                embedding = network.without_memory(features)
            else:
                embedding = network.read_memories(features, self._stored_memories())
            masks = self._decode(features, embedding, point_inputs, previous_logits, reads_nothing)
        size = read_size(network.config.image_size, "image_size")
        return {
            "pred_masks": masks.logits,
            "pred_masks_high_res": F.interpolate(masks.logits, size=size, mode="bilinear", align_corners=False),
            "obj_ptr": masks.pointer,
            "object_score_logits": masks.object_score,
        }

    def remember(self, features: FrameFeatures, out: Outputs, mask_inputs: Tensor | None, from_points: bool) -> Outputs:
        """The memories of all objects."""
        shown = out["pred_masks_high_res"]
        if mask_inputs is not None:
            shown = mask_inputs.to(shown) * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS
        prompted = torch.full((len(shown),), from_points, device=shown.device)
        memory = self.network.encode_memory(features, shown, out["object_score_logits"], prompted)
        encoding = self.network.memory_position_encoding()
        return {"maskmem_features": memory, "maskmem_pos_enc": [encoding.expand_as(memory)]}

    def _decode(
        self,
        features: FrameFeatures,
        embedding: Tensor,
        point_inputs: dict[str, Tensor] | None,
        previous_logits: Tensor | None,
        reads_nothing: bool,
    ) -> ObjectMasks:
        """Masks of the objects that points are for, or that were read from memory."""
        network = self.network
        axis = 0 if reads_nothing else 1  # all objects read one embedding, or each its own
        points = labels = None
        if point_inputs is not None:
            points = point_inputs["point_coords"].unsqueeze(axis)
            labels = point_inputs["point_labels"].unsqueeze(axis)
        if previous_logits is not None:
            previous_logits = previous_logits[:, 0].unsqueeze(axis)
        config, num_points = network.config, 0 if labels is None else labels.shape[-1]
        multimask = (
            config.multimask_output_in_sam
            and (reads_nothing or config.multimask_output_for_tracking)
            and config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
        )
        return network.segment(features, embedding, points, labels, previous_logits, multimask)

    def _stored_memories(self) -> StoredMemories:
        """What the frame reads of earlier returns."""
        network = self.network
        conditioning, tracked = self.outputs["cond_frame_outputs"], self.outputs["non_cond_frame_outputs"]
        every = {**tracked, **conditioning}
        chosen = network.memory_policy.select(
            FrameSets(conditioning.keys(), tracked.keys()), self.frame_idx, self.reverse
        )
        has_pointers = len(chosen.pointers) > 0
        distances = [[slot.distance for slot in chosen.pointers]]
        device = network.device
        maps = [every[slot.frame]["maskmem_features"].to(device) for slot in chosen.memories]
        pointers = [every[slot.frame]["obj_ptr"].to(device) for slot in chosen.pointers]
        return StoredMemories(
            torch.stack(maps, dim=1),
            torch.tensor([[slot.temporal_index for slot in chosen.memories]], device=device),
            torch.stack(pointers, dim=1) if has_pointers else None,
            network.pointer_distances(torch.tensor(distances, device=device), self.num_frames)
            if has_pointers
            else None,
        )
