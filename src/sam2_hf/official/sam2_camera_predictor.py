"""`SAM2CameraPredictor`: objects tracked through frames as they come, as the real-time forks of Meta's code do it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..processing_sam2_video import Sam2VideoProcessor
from .inference_state import InferenceState
from .sam2_video_predictor import SAM2VideoPredictor
from .utils import misc
from .video_base import FrameMasks


class SAM2CameraPredictor(SAM2VideoPredictor):
    """A video predictor whose frames are handed over one by one.

    The state is the predictor's own, `condition_state`. What no later frame can read is forgotten, so memory does not
    grow with the number of frames. Colours are the caller's matter: frames are RGB.
    """

    def __init__(self, network: Any, **settings: Any) -> None:
        super().__init__(network, **settings)
        self._state: InferenceState | None = None

    @property
    def condition_state(self) -> InferenceState:
        """The state; see `InferenceState`.

        Raises:
            RuntimeError: before the first frame.
        """
        if self._state is None:
            raise RuntimeError("the first frame must be given with load_first_frame before this")
        return self._state

    @property
    def frame_idx(self) -> int:
        """The number of the newest frame, from 0."""
        newest = self.condition_state.session.newest_streamed
        return 0 if newest is None else newest

    @torch.inference_mode()
    def load_first_frame(self, img: Any) -> None:
        """Starts anew with a frame: an array (height, width, 3) uint8, RGB, or a PIL image."""
        processor = Sam2VideoProcessor(misc.frame_processor(self._input_size))
        session = processor.init_video_session(inference_device=self.device, dtype=self.network.dtype)
        session.video_height, session.video_width = _size_of(img)
        self._state = InferenceState(session, [], self._video_network.memory_position_encoding)
        self._take(img)

    @torch.inference_mode()
    def add_conditioning_frame(self, img: Any) -> None:
        """Goes on to a frame that is to be prompted; objects that are known already are tracked to it."""
        self._take(img)

    @torch.inference_mode()
    def track(self, img: Any) -> tuple[list[Hashable], Tensor]:
        """Goes on to the next frame.

        Returns:
            The ids of all objects, and their logits (N, 1, height, width).

        Raises:
            RuntimeError: before the first frame.
        """
        output = self._take(img)
        _, obj_ids, masks = self._frame_masks(self.condition_state, output)
        return obj_ids, masks

    def _take(self, img: Any) -> Any:
        state = self.condition_state
        if _size_of(img) != state.size:
            raise ValueError(f"frames must keep their size (height, width), expected {state.size}, got {_size_of(img)}")
        for track in state.session.tracks.values():
            self._settle(track)
        pixels = misc.frame_processor(self._input_size)(img, return_tensors="pt")["pixel_values"]
        return self._video_network(state.session, frame=pixels[0])

    @torch.inference_mode()
    def add_new_prompt(
        self,
        frame_idx: int,
        obj_id: Hashable,
        points: Any = None,
        labels: Any = None,
        bbox: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
    ) -> FrameMasks:
        """Prompts an object on the newest frame; see `SAM2VideoPredictor.add_new_points_or_box`.

        Args:
            frame_idx: the frame, which is the newest one.
            obj_id: any hashable.
            points: (points, 2) as (x, y).
            labels: (points).
            bbox: left, top, right, bottom, or two corners; in place of points or beside them.
            clear_old_points: whether these replace the object's points on the frame.
            normalize_coords: whether coordinates are pixels of the frame, or fractions of it.
        """
        return super().add_new_points_or_box(
            self.condition_state, frame_idx, obj_id, points, labels, clear_old_points, normalize_coords, bbox
        )

    def add_new_points(self, *args: Any, **kwargs: Any) -> FrameMasks:
        """The former name of `add_new_prompt`."""
        return self.add_new_prompt(*args, **kwargs)

    @torch.inference_mode()
    def add_new_mask(self, frame_idx: int, obj_id: Hashable, mask: Any) -> FrameMasks:  # type: ignore[override]
        """Gives an object its mask on the newest frame; see `SAM2VideoPredictor.add_new_mask`."""
        return super().add_new_mask(self.condition_state, frame_idx, obj_id, mask)

    @torch.inference_mode()
    def add_new_prompt_during_track(
        self,
        point: Any = None,
        bbox: Any = None,
        mask: Any = None,
        if_new_target: bool = True,
        obj_id: Hashable | None = None,
        labels: Any = None,
        clear_old_points: bool = True,
    ) -> FrameMasks:
        """Prompts an object on the newest frame, between two frames that are tracked.

        Args:
            point: (points, 2) as (x, y).
            bbox: left, top, right, bottom.
            mask: (height, width), where neither points nor a box are given.
            if_new_target: whether it is a new object, whose id is one more than that of the last; else the last one.
            obj_id: the object, in place of `if_new_target`.
            labels: (points), 1 for the object by default.
            clear_old_points: whether points replace those that the object has on the frame.
        """
        if obj_id is None:
            obj_id = self._object_meant(if_new_target)
        if point is None and bbox is None:
            return self.add_new_mask(self.frame_idx, obj_id, mask)
        if point is not None:
            point = np.asarray(point, dtype=np.float32).reshape(-1, 2)
            labels = np.ones(len(point), dtype=np.int64) if labels is None else labels
        return self.add_new_prompt(self.frame_idx, obj_id, point, labels, bbox, clear_old_points)

    add_new_promot_during_track = add_new_prompt_during_track

    def _object_meant(self, is_new: bool) -> Hashable:
        known = self.condition_state.session.obj_ids
        if not is_new:
            if not known:
                raise ValueError("there is no object to prompt: if_new_target=False needs one")
            return known[-1]
        numbers = [obj_id for obj_id in known if isinstance(obj_id, int)]
        return max(numbers, default=0) + 1

    @torch.inference_mode()
    def reset_state(self) -> None:  # type: ignore[override]
        """Forgets all objects; the newest frame can be prompted anew."""
        self.condition_state.session.reset_tracking_data()


def _size_of(img: Any) -> tuple[int, int]:
    if isinstance(img, Image.Image):
        return img.size[1], img.size[0]
    if getattr(img, "ndim", 0) != 3:
        raise TypeError(f"a frame must be an array (height, width, 3) or a PIL image, got {type(img).__name__}")
    return int(img.shape[0]), int(img.shape[1])
