"""`Sam2VideoProcessor`: opens sessions over clips and streams, and turns a person's prompts into the session's."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from .image_processing_sam2 import Sam2ImageProcessor
from .inputs.pixel_options import PixelOptions
from .inputs.value_range import Window
from .processing_sam2 import Sam2Processor
from .prompt_values import PAD_VALUE
from .sizes import Size, read_size
from .tracking.given_prompts import SessionPrompting
from .tracking.memory.registry import PolicySetting
from .tracking.retention import Retention, RetentionRule
from .tracking.session import Sam2VideoInferenceSession
from .video_io.open_video import VideoSource, open_video
from .video_processing_sam2 import Sam2VideoVideoProcessor


class Sam2VideoProcessor(Sam2Processor, SessionPrompting):
    """What `Sam2Processor` does for images, and sessions and their prompts for clips and streams.

    Args:
        image_processor: makes the pixels of images, and of frames, and restores the masks.
        video_processor: makes the pixels of the frames of clips, where they are to be made in another way than those of
            images. Normally they are not, and it follows `image_processor`.
        target_size: the frame that coordinates are scaled to, see `Sam2Processor`.
        point_pad_value: -10 and no other value.
        kwargs: those of transformers' `ProcessorMixin`.

    Raises:
        TypeError: a video processor of another kind.
    """

    session_class = Sam2VideoInferenceSession

    def __init__(
        self,
        image_processor: Any,
        video_processor: Any = None,
        target_size: int | Size | None = None,
        point_pad_value: int = PAD_VALUE,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_processor, target_size, point_pad_value, **kwargs)
        self.video_processor = video_processor

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that transformers loads and saves; the video processor is loaded and saved here."""
        return ["image_processor"]

    @property
    def video_processor(self) -> Sam2VideoVideoProcessor:
        """The processor of whole clips; with the settings of `image_processor` unless it was given."""
        if self._video_processor is not None:
            return self._video_processor
        return Sam2VideoVideoProcessor(**self.image_processor.options()._asdict())

    @video_processor.setter
    def video_processor(self, video_processor: Any) -> None:
        if video_processor is not None and not isinstance(video_processor, Sam2VideoVideoProcessor):
            if not hasattr(video_processor, "to_dict"):
                raise TypeError(
                    f"video_processor must be a Sam2VideoVideoProcessor, got {type(video_processor).__name__}"
                )
            video_processor = Sam2VideoVideoProcessor.from_dict(video_processor.to_dict())
        self._video_processor: Sam2VideoVideoProcessor | None = video_processor

    def init_video_session(
        self,
        video: Any = None,
        inference_device: torch.device | str | None = None,
        inference_state_device: torch.device | str | None = None,
        processing_device: torch.device | str | None = None,
        video_storage_device: torch.device | str | None = None,
        max_vision_features_cache_size: int = 1,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        retention: Retention | RetentionRule | None = None,
        memory_policy: PolicySetting | None = None,
        input_range: Window | None = None,
        input_percentiles: Window | None = None,
        nodata: float | None = None,
    ) -> Sam2VideoInferenceSession:
        """Open a session. Nothing is decoded but the first frame.

        Args:
            video: a path, folder, list, array, generator, camera or address, see `open_video`; None for a stream
                whose frames are handed to the model one by one.
            inference_device: where the model runs; where it is when it first uses the session by default.
            inference_state_device: where memories and masks are kept; `inference_device` by default.
            processing_device: where frames are resized; where they come from by default.
            video_storage_device: where the pixels of a stream are kept; `inference_device` by default.
            max_vision_features_cache_size: how many frames' features are kept for further prompts on them.
            dtype: of the pixels; by default the model's.
            torch_dtype: the former name of `dtype`.
            retention: "checkpointed", "everything", "readable" or a `tracking.retention.Checkpointed` with settings,
                see `SessionState`; by default "checkpointed" for a clip and "readable" for a stream.
            memory_policy: which memories tracking reads: "sam2", "visible" or another policy, in place of the model's.
            input_range: (black, white) in the values of the frames, for TIFF stacks, folders, arrays and lists of
                16-bit, signed or floating data; see `open_video`. By default that of the image processor.
            input_percentiles: the same as percentages, one window for the whole clip.
            nodata: the value of pixels that were not measured.

        Returns:
            The session, without objects.

        Raises:
            ValueError: settings that mean nothing.
            Exception: what `open_video` raises.
        """
        processor = (
            self.image_processor if self._video_processor is None else self._video_processor.to_image_processor()
        )
        source = None
        if video is not None:
            given = {"input_range": input_range, "input_percentiles": input_percentiles, "nodata": nodata}
            source, processor = _open_with_window(video, processor, given), processor.for_bytes()
        elif any(map(_is_given, (input_range, input_percentiles, nodata))):
            raise ValueError(
                "input_range, input_percentiles and nodata need a video; frames that are handed over are brought to "
                "their values by the processor that makes them: Sam2ImageProcessor(input_range=...)"
            )
        return Sam2VideoInferenceSession(
            video=source,
            inference_device=inference_device,
            inference_state_device=inference_state_device,
            processing_device=processing_device,
            video_storage_device=video_storage_device,
            dtype=dtype if torch_dtype is None else torch_dtype,
            max_vision_features_cache_size=max_vision_features_cache_size,
            image_processor=processor,
            retention=retention,
            memory_policy=memory_policy,
        )

    def model_input_size(self) -> Size:
        """(height, width) of the model's input, which coordinates are scaled to."""
        return read_size(self.target_size, "target_size")

    def process_new_points_or_boxes_for_video_frame(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int,
        obj_ids: Hashable | Sequence[Hashable],
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        original_size: Any = None,
        clear_old_inputs: bool = True,
    ) -> None:
        """Give objects points and boxes on a frame, by transformers' name; see `add_inputs_to_inference_session`."""
        self.add_inputs_to_inference_session(
            inference_session,
            frame_idx,
            obj_ids,
            input_points,
            input_labels,
            input_boxes,
            original_size=original_size,
            clear_old_inputs=clear_old_inputs,
        )

    def process_new_mask_for_video_frame(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int,
        obj_ids: Hashable | Sequence[Hashable],
        input_masks: Any,
    ) -> None:
        """Give objects masks on a frame, by transformers' name; see `add_inputs_to_inference_session`."""
        self.add_inputs_to_inference_session(inference_session, frame_idx, obj_ids, input_masks=input_masks)

    def to_dict(self) -> dict[str, Any]:
        """The fields of the JSON file, the same as in transformers: those of images and those of clips."""
        fields = {name: value for name, value in super().to_dict().items() if name != "_video_processor"}
        return {**fields, "video_processor": self.video_processor.to_dict()}

    @classmethod
    def from_args_and_dict(cls, args: list[Any], processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from loaded parts and the fields of a JSON file.

        Files repeat the settings of images for clips. Where they do, clips go on following the image processor.
        """
        fields = dict(processor_dict)
        clips, images = fields.pop("video_processor", None) or {}, fields.get("image_processor") or {}
        names = {*PixelOptions._fields} & {*clips} & {*images}
        if any(clips[name] != images[name] for name in names):
            fields["video_processor"] = Sam2VideoVideoProcessor.from_dict(clips, image_size=kwargs.get("image_size"))
        return super().from_args_and_dict(args, fields, **kwargs)


def _open_with_window(video: Any, processor: Sam2ImageProcessor, given: dict[str, Any]) -> VideoSource:
    """Open a video with the window of values that a call gives, else with the processor's.

    A source that was opened with a window before keeps it.
    """
    if isinstance(video, VideoSource) and video.value_range.is_set and not any(map(_is_given, given.values())):
        return video
    options = processor.options()
    if given["input_range"] is None and given["input_percentiles"] is None:
        given = {**given, "input_range": options.input_range, "input_percentiles": options.input_percentiles}
    if given["nodata"] is None:
        given = {**given, "nodata": options.nodata}
    return open_video(video, **given)


def _is_given(value: Any) -> bool:
    return value is not None
