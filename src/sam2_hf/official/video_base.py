"""What Meta's video predictors share: their settings, masks at the video's size, and the private names in use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..outputs import Sam2VideoSegmentationOutput
from ..processing_sam2_video import Sam2VideoProcessor
from ..sizes import read_size
from ..tracking.memory.registry import PolicySetting
from ..tracking.object_state import ObjectState
from ..tracking.retention import Everything, Retention, RetentionRule
from .frames import LoadedFrames, unchanging_processor
from .inference_state import InferenceState
from .loading import build
from .modeling.sam2_base import SAM2Base
from .object_changes import drop_corrections_of_conditioning_frames, forget_around
from .own_state import ADOPTED, check_own_state, take_over
from .utils import misc

FrameMasks = tuple[int, list[Hashable], Tensor]
Frames = tuple[Sam2VideoProcessor, Any, Any]  # the processor, the video, and the frames a program has read, or None
Method = TypeVar("Method", bound=Callable[..., Any])


def takes_state(method: Method) -> Method:
    """Lets a method of a predictor take an inference state that a program has made itself."""

    @functools.wraps(method)
    def call(self: VideoPredictorBase, inference_state: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, self._state_of(inference_state), *args, **kwargs)

    return call  # type: ignore[return-value]


class VideoPredictorBase(SAM2Base):
    """A model with the settings of a video predictor; see `SAM2VideoPredictor`."""

    def __init__(
        self,
        network: Any,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        binarize_mask_from_pts_for_mem_enc: bool = True,
        image_size: Any = None,
        **settings: Any,
    ) -> None:
        super().__init__(network, image_size)
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

    def _new_state(
        self,
        frames: Frames,
        offload_video: bool,
        offload_state: bool,
        retention: Retention | RetentionRule | None = None,
        memory_policy: PolicySetting | None = None,
    ) -> InferenceState:
        processor, video, images = frames
        session = processor.init_video_session(
            video,
            inference_device=self.device,
            inference_state_device="cpu" if offload_state else None,
            video_storage_device="cpu" if offload_video else None,
            dtype=self.network.dtype,
            retention=retention,
            memory_policy=memory_policy,
        )
        if retention is None and self.non_overlap_masks and session.is_seekable:
            session.rule = Everything()
        if images is None:
            images = misc.VideoFrames(session.video, processor.image_processor, torch.device("cpu"))  # type: ignore[arg-type]
        return InferenceState(session, images, self._video_network.memory_position_encoding)

    def _loaded(self, images: Any, height: int, width: int) -> Frames:
        """Frames that are the model's input already."""
        processor = Sam2VideoProcessor(unchanging_processor(self._input_size))
        return processor, LoadedFrames(images, height, width), images

    def _state_of(self, given: Any) -> InferenceState:
        """The state that is meant; of a program's own dictionary, the one that computes for it."""
        if isinstance(given, InferenceState):
            return given
        if not isinstance(given, MutableMapping) or ADOPTED not in given:
            check_own_state(given)
            frames = self._loaded(given["images"], given["video_height"], given["video_width"])
            offload_video, offload_state = (bool(given.get(f"offload_{what}_to_cpu")) for what in ("video", "state"))
            take_over(given, self._new_state(frames, offload_video, offload_state))
        return given[ADOPTED]

    def _frame_masks(self, state: InferenceState, output: Sam2VideoSegmentationOutput) -> FrameMasks:
        masks = self._get_orig_video_res_output(state, output.pred_masks)[1]
        return output.frame_idx, list(output.object_ids), masks

    @takes_state
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

    @takes_state
    def _get_obj_num(self, inference_state: InferenceState) -> int:
        return len(inference_state.session.tracks)

    @takes_state
    def _obj_idx_to_id(self, inference_state: InferenceState, obj_idx: int) -> Hashable:
        return inference_state.session.obj_ids[obj_idx]

    @takes_state
    def _obj_id_to_idx(self, inference_state: InferenceState, obj_id: Hashable) -> int:
        return inference_state.session.obj_ids.index(obj_id)

    @takes_state
    def _reset_tracking_results(self, inference_state: InferenceState) -> None:
        inference_state.session.reset_tracking_data()

    @takes_state
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
