"""`Sam2VideoVideoProcessor`: the frames of whole clips to the model's pixels, by the name that transformers gives it.

A session does not need it: it reads and resizes one frame at a time.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature

from .hub.json_files import HUB_ARGUMENTS, read_json
from .image_processing_sam2 import Sam2ImageProcessor
from .inputs.pixel_options import PixelOptions
from .video_io.open_video import open_video


class Sam2VideoVideoProcessor(Sam2ImageProcessor):
    """Turns the frames of videos into pixels for SAM 2, all at once; the settings are those of `Sam2ImageProcessor`."""

    @classmethod
    def get_image_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the settings for clips, in either layout; those for images where a checkpoint has no others."""
        saved = read_json(pretrained_model_name_or_path, "processor_config.json", kwargs).get("video_processor")
        saved = saved or read_json(pretrained_model_name_or_path, "video_preprocessor_config.json", kwargs)
        if saved:
            return saved, {name: value for name, value in kwargs.items() if name not in HUB_ARGUMENTS}
        return super().get_image_processor_dict(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type | None = None) -> None:
        """Have what is saved carry its code, by default for `AutoVideoProcessor`; see `SavesItsCode`."""
        super().register_for_auto_class("AutoVideoProcessor" if auto_class is None else auto_class)

    def preprocess(  # type: ignore[override]  # the argument is a video here, as in transformers
        self, videos: Any, return_tensors: str | None = None, **overrides: Any
    ) -> BatchFeature:
        """Turn videos into pixels.

        Args:
            videos: one video, or a list of them; a video is whatever `open_video` takes.
            return_tensors: "pt" or "np".
            overrides: any setting of the class, for this call alone.

        Returns:
            `pixel_values_videos` (videos, frames, 3, height, width) float32, a list where videos differ in length;
            `original_sizes` and `reshaped_input_sizes`, (height, width) of each video's frames before and after.

        Raises:
            TypeError, ValueError: what cannot be read as a video, or a setting that means nothing.
        """
        clips, originals, resized = [], [], []
        options = self.options(**overrides)
        window = {name: getattr(options, name) for name in ("input_range", "input_percentiles", "nodata")}
        of_frames = Sam2ImageProcessor(**options._asdict()).for_bytes()
        for video in self._videos(videos):
            with open_video(video, **window) as source:
                frames = [of_frames.preprocess(frame) for frame in source]
                clips.append(torch.cat([frame["pixel_values"] for frame in frames]))
                originals.append(source.size)
                resized.append((clips[-1].shape[-2], clips[-1].shape[-1]))
        together = len({clip.shape for clip in clips}) == 1
        data = {
            "original_sizes": originals,
            "reshaped_input_sizes": resized,
            "pixel_values_videos": torch.stack(clips) if together else clips,
        }
        return BatchFeature(data, tensor_type=return_tensors if together else None)

    def __call__(self, videos: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """Turn videos into pixels; see `preprocess`."""
        return self.preprocess(videos, *args, **kwargs)

    def post_process_masks(  # type: ignore[override]  # the order of arguments is that of transformers' class
        self,
        masks: Any,
        original_sizes: Any,
        reshaped_input_sizes: Any = None,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        pad_size: Any = None,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Bring mask logits to the size of their frames; see `Sam2ImageProcessor.post_process_masks`.

        Args:
            masks: see there.
            original_sizes: see there.
            reshaped_input_sizes: not read: nothing is padded.
            mask_threshold: see there.
            binarize: see there.
            pad_size: not read.
            kwargs: further arguments there.

        Returns:
            For each image (objects, masks, height, width).
        """
        return super().post_process_masks(
            masks, original_sizes, mask_threshold=mask_threshold, binarize=binarize, **kwargs
        )

    def to_image_processor(self) -> Sam2ImageProcessor:
        """The same settings for single images."""
        return Sam2ImageProcessor(**{name: getattr(self, name) for name in PixelOptions._fields})

    def to_dict(self) -> dict[str, Any]:
        """The fields of the JSON file, the same as in transformers."""
        fields = {name: value for name, value in super().to_dict().items() if name not in _OF_IMAGES}
        return {**fields, "return_metadata": False, "video_processor_type": "Sam2VideoVideoProcessor"}

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from the fields of a JSON file, of its own or of a whole processor."""
        return super().from_dict(image_processor_dict.get("video_processor", image_processor_dict), **kwargs)

    @staticmethod
    def _videos(videos: Any) -> list[Any]:
        """Several videos in a list, or one; a list of images is one."""
        if isinstance(videos, (list, tuple)) and videos and all(_is_clip(video) for video in videos):
            return list(videos)
        if getattr(videos, "ndim", 0) == 5:
            return list(videos)
        return [videos]


_OF_IMAGES = ("image_processor_type", "mask_size", "processor_class")


def _is_clip(video: Any) -> bool:
    return isinstance(video, (list, tuple)) or getattr(video, "ndim", 0) == 4
