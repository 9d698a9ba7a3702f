"""`SAM2Base`: one of this package's models with the attributes and the lower calls of Meta's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ...hub.key_mapping import POINT_TABLE, PROMPT_MATRIX, original_name
from ...modeling_sam2 import Sam2Model
from ...modeling_sam2_video import Sam2VideoModel
from ...network.mask_decoder import NO_OBJECT_LOGIT
from ...sizes import read_size
from ..engine import OfficialVideoModel, as_official, image_model_of
from .frame_step import Outputs, TrackStep
from .sam_heads import OfficialMaskDecoder, OfficialPromptEncoder

NO_OBJ_SCORE = NO_OBJECT_LOGIT

_PARTS = {
    "image_encoder": "vision_encoder",
    "memory_attention": "memory_attention",
    "memory_encoder": "memory_encoder",
}
"""Parts of Meta's model that can be set, and what they are called here."""


def without_compilation(module: Any) -> Any:
    """What `torch.compile(module)` wraps; anything else as it is. This package compiles by `network.compile`."""
    return getattr(module, "_orig_mod", module) if isinstance(module, nn.Module) else module


class SAM2Base(nn.Module):
    """A model of this package, `network`, as a program written for Meta's sees it.

    Args:
        network: a `Sam2VideoModel`; or a `Sam2Model`, which has no memory.
        image_size: not read; the network has its own. Given where hydra builds this class from a file in `configs`.

    Raises:
        TypeError: for anything else.
    """

    num_feature_levels = 3
    directly_add_no_mem_embed = True

    def __init__(self, network: Sam2VideoModel | Sam2Model, image_size: Any = None) -> None:
        super().__init__()
        if not isinstance(network, (Sam2VideoModel, Sam2Model)):
            raise TypeError(f"network must be a Sam2VideoModel or a Sam2Model, got {type(network).__name__}")
        self.network = as_official(network) if isinstance(network, Sam2VideoModel) else network

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; a part that a program compiles or replaces is the network's."""
        if name in _PARTS and isinstance(value, nn.Module):
            setattr(self.network, _PARTS[name], without_compilation(value))
            self.__dict__.pop("_parts", None)  # they share what was replaced
        else:
            super().__setattr__(name, value)

    # What programs read

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.network.device

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Side of the model's square input in pixels; of any other input, (height, width)."""
        height, width = read_size(self.network.config.prompt_encoder_config.image_size, "image_size")
        return height if height == width else (height, width)

    @property
    def feature_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the image's three maps, from high to low resolution."""
        return [(int(height), int(width)) for height, width in self.network.config.vision_config.backbone_feature_sizes]

    @property
    def hidden_dim(self) -> int:
        """Width of image features."""
        return self.network.config.vision_config.fpn_hidden_size

    @property
    def mem_dim(self) -> int:
        """Width of memories."""
        return self._video_network.config.memory_encoder_output_channels

    @property
    def num_maskmem(self) -> int:
        """Number of memories that a frame reads, its own place included."""
        return self._video_network.config.num_maskmem

    @property
    def max_obj_ptrs_in_encoder(self) -> int:
        """Number of frames whose object pointers are read, the current one included."""
        return self._video_network.config.max_object_pointers_in_encoder

    @property
    def no_mem_embed(self) -> Tensor:
        """What stands in for memories (1, 1, C)."""
        return self.network.no_memory_embedding

    @property
    def image_encoder(self) -> nn.Module:
        """Trunk and feature pyramid."""
        return self.network.vision_encoder

    @property
    def memory_attention(self) -> nn.Module:
        """Reads memories."""
        return self._video_network.memory_attention

    @property
    def memory_encoder(self) -> nn.Module:
        """Makes memories."""
        return self._video_network.memory_encoder

    @cached_property
    def _parts(self) -> tuple[Any, ...]:
        # In a tuple, so that they are not registered as modules: they share the network's weights.
        network = self.network
        image_model = image_model_of(network) if isinstance(network, Sam2VideoModel) else network
        encoder = OfficialPromptEncoder(network.prompt_encoder, network.get_image_wide_positional_embeddings)
        return image_model, encoder, OfficialMaskDecoder(network.mask_decoder)

    @property
    def image_model(self) -> Sam2Model:
        """The image model, which shares the network's weights."""
        return self._parts[0]

    @property
    def sam_prompt_encoder(self) -> OfficialPromptEncoder:
        """The prompt encoder under Meta's call."""
        return self._parts[1]

    @property
    def sam_mask_decoder(self) -> OfficialMaskDecoder:
        """The mask decoder under Meta's call."""
        return self._parts[2]

    @property
    def _video_network(self) -> OfficialVideoModel:
        if not isinstance(self.network, OfficialVideoModel):
            raise AttributeError("this model was loaded from an image checkpoint and has no memory")
        return self.network

    # Weights under Meta's names

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The weights under the names of Meta's checkpoints."""
        prefix = kwargs.get("prefix", "")
        state = super().state_dict(*args, **kwargs)
        result: dict[str, Any] = {}
        for name, tensor in state.items():
            own = name.removeprefix(f"{prefix}network.")
            if own == POINT_TABLE:
                for row, weight in enumerate(tensor.unsqueeze(1)):
                    result[f"{prefix}sam_prompt_encoder.point_embeddings.{row}.weight"] = weight
            elif own != PROMPT_MATRIX:
                result[prefix + original_name(own)] = tensor
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Loads weights under the names of Meta's checkpoints; see `torch.nn.Module.load_state_dict`."""
        from ...hub.conversion import convert_state_dict

        return self.network.load_state_dict(convert_state_dict(state_dict), strict=strict, assign=assign)

    # Lower calls

    def forward_image(self, img_batch: Tensor) -> dict[str, Any]:
        """Encodes images (B, 3, H, W), normalised.

        Returns:
            `backbone_fpn`, three maps from high to low resolution, the finer two as the mask decoder reads them;
            `vision_pos_enc`, their encodings; `vision_features`, the last map.
        """
        features = self.network.get_image_features(img_batch, return_dict=True)
        assert not isinstance(features, tuple)
        maps, encodings = (
            [
                level.permute(1, 2, 0).unflatten(2, size)
                for level, size in zip(levels or (), self.feature_sizes, strict=True)
            ]
            for levels in (features.fpn_hidden_states, features.fpn_position_encoding)
        )
        return {"vision_features": maps[-1], "vision_pos_enc": encodings, "backbone_fpn": maps}

    def _prepare_backbone_features(
        self, backbone_out: dict[str, Any]
    ) -> tuple[dict[str, Any], list[Tensor], list[Tensor], list[tuple[int, int]]]:
        """What `forward_image` gave, a copy; its maps and encodings with positions first, (hw, B, C); their sizes."""
        sizes = [(level.shape[-2], level.shape[-1]) for level in backbone_out["backbone_fpn"]]
        maps, encodings = (
            [level.flatten(2).permute(2, 0, 1) for level in backbone_out[name]]
            for name in ("backbone_fpn", "vision_pos_enc")
        )
        return dict(backbone_out), maps, encodings, sizes

    def track_step(
        self,
        frame_idx: int,
        is_init_cond_frame: bool,
        current_vision_feats: Sequence[Tensor],
        current_vision_pos_embeds: Sequence[Tensor],
        feat_sizes: Sequence[tuple[int, int]],
        point_inputs: dict[str, Tensor] | None,
        mask_inputs: Tensor | None,
        output_dict: Mapping[str, Mapping[int, Outputs]],
        num_frames: int | None,
        track_in_reverse: bool = False,
        run_mem_encoder: bool = True,
        prev_sam_mask_logits: Tensor | None = None,
    ) -> Outputs:
        """Segments N objects in one frame.

        Args:
            frame_idx: the frame's number.
            is_init_cond_frame: whether no memory is read.
            current_vision_feats: the frame's maps from `_prepare_backbone_features`; where they were expanded to N
                rows, the first is taken.
            current_vision_pos_embeds: not read; the encodings follow from the sizes.
            feat_sizes: (height, width) of each map.
            point_inputs: `point_coords` (N, points, 2) in pixels of the model's input and `point_labels` (N, points).
            mask_inputs: masks (N, 1, H, W) of the model's input size, in place of points.
            output_dict: `cond_frame_outputs` and `non_cond_frame_outputs`: what this returned in other frames.
            num_frames: length of the video, None if it is not known.
            track_in_reverse: whether memories of later frames are read.
            run_mem_encoder: whether a memory of the frame is made.
            prev_sam_mask_logits: logits (N, 1, 4h, 4w) that the points correct.

        Returns:
            `pred_masks` (N, 1, 4h, 4w), `pred_masks_high_res` (N, 1, H, W), `obj_ptr` (N, C), `object_score_logits`
            (N, 1), `maskmem_features` (N, D, h, w) and a list of its encoding, both None without `run_mem_encoder`;
            the inputs.
        """
        step = TrackStep(self._video_network, output_dict, frame_idx, num_frames, track_in_reverse)
        features = step.read_features(current_vision_feats, feat_sizes)
        out = step.segment(features, is_init_cond_frame, point_inputs, mask_inputs, prev_sam_mask_logits)
        remembered = {"maskmem_features": None, "maskmem_pos_enc": None}
        if run_mem_encoder:
            remembered = step.remember(features, out, mask_inputs, from_points=point_inputs is not None)
        return {"point_inputs": point_inputs, "mask_inputs": mask_inputs, **out, **remembered}

    def segment_from_mask(
        self, maps: Sequence[Tensor], mask: Tensor | None, multimask_output: bool
    ) -> tuple[Tensor, Tensor]:
        """Segments an image from a mask without points, which goes without any token for the prompt.

        Args:
            maps: the image's three maps, from high to low resolution.
            mask: logits (N, 1, 4h, 4w).
            multimask_output: three masks, or one.

        Returns:
            Logits (N, M, 4h, 4w) and IoU scores (N, M).
        """
        sparse, dense = self.sam_prompt_encoder(masks=mask)
        positions = self.sam_prompt_encoder.get_dense_pe()
        logits, scores, _, _ = self.sam_mask_decoder(
            maps[-1], positions, sparse, dense, multimask_output, repeat_image=True, high_res_features=maps[:-1]
        )
        return logits, scores
