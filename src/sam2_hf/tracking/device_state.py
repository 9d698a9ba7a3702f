"""Sessions of models in torch: the devices and the dtype that their state and their frames have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..inputs.dtypes import read_dtype
from .device_frames import DeviceFrames
from .memory.registry import PolicySetting
from .retention import Retention, RetentionRule
from .session_state import SessionState

if TYPE_CHECKING:
    from ..image_processing_sam2 import Sam2ImageProcessor
    from ..video_io.source import VideoSource


class Follows(NamedTuple):
    """Which settings of a session are those of the model that uses it, because none were given."""

    inference_device: bool
    state_device: bool
    storage_device: bool
    dtype: bool


class DeviceState(SessionState):
    """A `SessionState` whose tensors of objects lie on `inference_state_device`.

    What was not given is taken from the model that uses the session.
    """

    frames: DeviceFrames

    def __init__(
        self,
        video: VideoSource | Tensor | None = None,
        video_height: int | None = None,
        video_width: int | None = None,
        inference_device: torch.device | str | None = None,
        inference_state_device: torch.device | str | None = None,
        video_storage_device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        max_vision_features_cache_size: int = 1,
        image_processor: Sam2ImageProcessor | None = None,
        processing_device: torch.device | str | None = None,
        retention: Retention | RetentionRule | None = None,
        memory_policy: PolicySetting | None = None,
    ):
        """Start without objects. `Sam2VideoProcessor.init_video_session` is the usual way here.

        Args:
            video: where frames come from; or the frames as the model's input, (T, 3, H, W) or (1, T, 3, H, W); None for
                a stream, whose frames are handed to the model one by one.
            video_height: the height of the original frames in pixels; taken from `video` if there is one.
            video_width: likewise.
            inference_device: where frames are computed; where the model is by default.
            inference_state_device: where memories, masks and scores are kept; `inference_device` by default.
            video_storage_device: where pixels are kept while they are needed; `inference_device` by default.
            dtype: of the pixels handed to the model, or its name; by default the model's.
            max_vision_features_cache_size: how many frames' features are kept for prompts on the same frame.
            image_processor: turns a frame of `video` into the model's input; needed with `video`.
            processing_device: where frames of `video` are resized; where they come from by default.
            retention: what is kept, "checkpointed", "everything", "readable" or a `Checkpointed` with settings; see
                `SessionState`.
            memory_policy: what objects read, keep and promote: a name such as "visible", a dict of the name and
                settings, or a policy; that of the model by default.

        Raises:
            ValueError: for a setting out of its range, or a video without `image_processor`.
        """
        is_source = video is not None and not isinstance(video, Tensor)
        if is_source and image_processor is None:
            raise ValueError(
                "a session over a video needs an image_processor; use Sam2VideoProcessor.init_video_session"
            )
        frames = DeviceFrames(
            video,
            image_processor,
            torch.float32 if dtype is None else read_dtype(dtype),
            torch.device(inference_device or "cpu"),
            torch.device(video_storage_device or inference_device or "cpu"),
            processing_device,
        )
        size = (video_height, video_width) if frames.video is None else (frames.video.height, frames.video.width)
        state_device = torch.device(inference_state_device or inference_device or "cpu")
        super().__init__(frames, size, retention, max_vision_features_cache_size, state_device, memory_policy)
        self._follows = Follows(
            inference_device is None,
            inference_device is None and inference_state_device is None,
            inference_device is None and video_storage_device is None,
            dtype is None,
        )

    # Devices

    @property
    def image_processor(self) -> Sam2ImageProcessor | None:
        """What turns frames of `video` into the model's input."""
        return self.frames.image_processor

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels handed to the model."""
        return self.frames.dtype

    @property
    def inference_device(self) -> torch.device:
        """Where frames are computed."""
        return self.frames.inference_device

    @property
    def video_storage_device(self) -> torch.device:
        """Where pixels are kept while they are needed."""
        return self.frames.storage_device

    @property
    def processing_device(self) -> torch.device | str | None:
        """Where frames of `video` are resized; None for where they come from."""
        return self.frames.processing_device

    def follow(self, device: torch.device, dtype: torch.dtype) -> None:
        """Take the device and dtype of the model that uses the session, where none were given."""
        frames, follows = self.frames, self._follows
        if follows.inference_device:
            frames.inference_device = device
        if follows.storage_device:
            frames.storage_device = device
        if follows.dtype and dtype.is_floating_point:
            frames.dtype = dtype
        if follows.state_device and self.inference_state_device != device:
            self.inference_state_device = device
            for track in self.tracks.values():
                track.move_to(device)

    # For files

    def describe_settings(self) -> dict[str, Any]:
        """How frames become the model's input; see `SessionState.describe_settings`."""
        if self.frames.processed is not None:
            raise TypeError(
                "a session over pixel values cannot be saved: open the video with Sam2VideoProcessor.init_video_session"
            )
        processor = self.image_processor
        return {
            "dtype": str(self.dtype).removeprefix("torch."),
            "image_processor": None if processor is None else processor.to_dict(),
        }

    @classmethod
    def from_settings(cls, description: Mapping[str, Any], **settings: Any) -> Any:
        """Open a session without objects; see `SessionState.from_settings`."""
        from ..image_processing_sam2 import Sam2ImageProcessor

        processor = description["image_processor"]
        return cls(
            dtype=getattr(torch, description["dtype"]),
            image_processor=None if processor is None else Sam2ImageProcessor.from_dict(processor),
            **settings,
        )

    def restore_stream(self, num_streamed: int, newest: Tensor | None, next_version: int) -> None:
        """For loading: take up what `stream_state` gave."""
        stored = None if newest is None else newest.to(self.video_storage_device)
        super().restore_stream(num_streamed, stored, next_version)
