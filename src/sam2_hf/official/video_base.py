"""What Meta's video predictors share: their settings, masks at the video's size, and the private names in use."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from ..outputs import Sam2VideoSegmentationOutput
from ..processing_sam2_video import Sam2VideoProcessor
from ..sizes import read_size
from ..tracking.object_state import ObjectState
from .inference_state import InferenceState
from .loading import build
from .modeling.sam2_base import SAM2Base
from .object_changes import drop_corrections_of_conditioning_frames, forget_around
from .utils import misc

FrameMasks = tuple[int, list[Hashable], Tensor]


class VideoPredictorBase(SAM2Base):
    """A model with the settings of a video predictor; see `SAM2VideoPredictor`."""

    def __init__(
        self,
        network: Any,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        binarize_mask_from_pts_for_mem_enc: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(network)
        if not hasattr(self.network, "memory_encoder"):
            raise TypeError("network must be a Sam2VideoModel, got a model without memory parts")
        self._video_network.config.binarize_prompted_memory = binarize_mask_from_pts_for_mem_enc
        self.non_overlap_masks = non_overlap_masks
        self.clear_non_cond_mem_around_input = clear_non_cond_mem_around_input
        for name, value in settings.items():
            if not hasattr(self._video_network.config, name):
                raise TypeError(f"{type(self).__name__} has no setting {name!r}")
            setattr(self._video_network.config, name, value)

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> Any:
        """Loads a checkpoint.

        Args:
            model_id: a name on the Hub or a folder.
            kwargs: arguments of `build_sam2_video_predictor`.
        """
        return build(cls, None, model_id, **kwargs)

    @property
    def fill_hole_area(self) -> int:
        """Holes of up to so many pixels are filled in the low-resolution masks."""
        return self._video_network.config.fill_hole_area

    @fill_hole_area.setter
    def fill_hole_area(self, area: int) -> None:
        self._video_network.config.fill_hole_area = area

    @property
    def add_all_frames_to_correct_as_cond(self) -> bool:
        """Whether a frame that is corrected after it was tracked conditions the object from then on."""
        return self._video_network.config.add_all_frames_to_correct_as_cond

    @add_all_frames_to_correct_as_cond.setter
    def add_all_frames_to_correct_as_cond(self, value: bool) -> None:
        self._video_network.config.add_all_frames_to_correct_as_cond = value

    @property
    def _input_size(self) -> tuple[int, int]:
        return read_size(self.image_size, "image_size")

    def _frame_masks(self, state: InferenceState, output: Sam2VideoSegmentationOutput) -> FrameMasks:
        masks = self._get_orig_video_res_output(state, output.pred_masks)[1]
        return output.frame_idx, list(output.object_ids), masks

    def _get_orig_video_res_output(
        self, inference_state: InferenceState, any_res_masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, 1, h, w) as they are, and at the video's size, one object a pixel if the predictor is set so."""
        restored = Sam2VideoProcessor(misc.frame_processor(self._input_size)).post_process_masks(
            [any_res_masks],
            [inference_state.size],
            binarize=False,
            apply_non_overlapping_constraints=self.non_overlap_masks,
        )
        return any_res_masks, restored[0]

    def _settle(self, track: ObjectState) -> None:
        """Does to an object what Meta's code does when tracking sets out from its new prompts."""
        if self.clear_non_cond_mem_around_input:
            for frame in list(track.superseded):
                forget_around(track, frame, self.num_maskmem)
        if not self.add_all_frames_to_correct_as_cond:
            drop_corrections_of_conditioning_frames(track)

    # Private names that programs touch, each a look at the session

    def _get_obj_num(self, inference_state: InferenceState) -> int:
        return len(inference_state.session.tracks)

    def _obj_idx_to_id(self, inference_state: InferenceState, obj_idx: int) -> Hashable:
        return inference_state.session.obj_ids[obj_idx]

    def _obj_id_to_idx(self, inference_state: InferenceState, obj_id: Hashable) -> int:
        return inference_state.session.obj_ids.index(obj_id)

    def _reset_tracking_results(self, inference_state: InferenceState) -> None:
        inference_state.session.reset_tracking_data()

    @torch.inference_mode()
    def _get_image_feature(self, inference_state: InferenceState, frame_idx: int, batch_size: int) -> tuple[Any, ...]:
        """The frame (batch, 3, H, W), and what `_prepare_backbone_features` gives for it, expanded to the batch."""
        image = inference_state.session.pixel_values(frame_idx)
        encoded = self.forward_image(image)
        expanded = {
            name: [level.expand(batch_size, -1, -1, -1) for level in encoded[name]]
            for name in ("backbone_fpn", "vision_pos_enc")
        }
        return image.expand(batch_size, -1, -1, -1), *self._prepare_backbone_features(expanded)
