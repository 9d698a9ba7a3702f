"""Images and frames to the graphs' input, prompts to sessions, and logits to masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..inputs.images import LoadedImage, read_images, write_normalised
from ..inputs.mask_prompts import mask_prompts, read_batch_of_masks
from ..inputs.prompts import read_prompts, scale_prompts
from ..inputs.resizing import resize
from ..masks.postprocessing import MaskRestorer
from ..sizes import Size, read_sizes
from ..tracking.given_prompts import SessionPrompting
from ..tracking.memory.registry import PolicySetting
from ..tracking.retention import Retention, RetentionRule
from ..video_io.source import VideoSource
from .exported_folder import ExportedFolder
from .session import ArrayFrames, VideoSession
from .video_source import open_video


class Processor:
    """What `sam2_hf.Sam2Processor` does, by NumPy and Pillow.

    Args:
        folder: says how pixels are to be made.
    """

    def __init__(self, folder: ExportedFolder):
        self.folder = folder

    @property
    def image_processor(self) -> Processor:
        """This processor, which is also called by images."""
        return self

    def __call__(self, images: Any, return_tensors: str = "np") -> dict[str, Any]:
        """Turn images into pixels.

        Args:
            images: anything that `sam2_hf.Sam2Processor` takes.
            return_tensors: of no effect; arrays are returned.

        Returns:
            `pixel_values` (images, 3, height, width) float32, and `original_sizes`, (height, width) of each image.
        """
        loaded = read_images(images, as_tensors=False)
        pixels = np.concatenate([self.pixel_values(image) for image in loaded])
        return {"pixel_values": pixels, "original_sizes": [image.size for image in loaded]}

    def pixel_values(self, image: LoadedImage) -> np.ndarray:
        """Resize and normalise an image: (1, 3, height, width) float32."""
        folder = self.folder
        resized = image._replace(pixels=resize(image.pixels, folder.image_size, folder.resample))
        pixel_values = np.empty((1, 3, *folder.image_size), np.float32)
        write_normalised(pixel_values[0], resized, folder.rescale_factor, folder.mean, folder.std)
        return pixel_values

    def to_dict(self) -> dict[str, Any]:
        """The settings of a `sam2_hf.Sam2ImageProcessor` that makes the same pixels."""
        height, width = self.folder.image_size
        return {
            "size": {"height": height, "width": width},
            "resample": self.folder.resample,
            "rescale_factor": self.folder.rescale_factor,
            "image_mean": list(self.folder.mean),
            "image_std": list(self.folder.std),
        }

    def prompts(self, size: Size, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Turn the prompts of an image into the graphs' inputs.

        Args:
            size: (height, width) of the image.
            given: `input_points`, `input_labels`, `input_boxes`, `input_masks`, nested, in pixels of the image.

        Returns:
            Points, labels and boxes under the same names, empty where there are none, and masks where there are any.

        Raises:
            ValueError, TypeError: names the argument.
        """
        coordinates = {name: value for name, value in given.items() if name != "input_masks"}
        read = scale_prompts(read_prompts(**coordinates, as_tensors=False), [size], [self.folder.image_size])
        count = next(array.shape[1] for array in read.named().values())
        inputs = {
            "input_points": np.zeros((1, count, 0, 2), np.float32) if read.points is None else read.points,
            "input_labels": np.zeros((1, count, 0), np.int64) if read.labels is None else read.labels,
            "input_boxes": np.zeros((1, 0, 4), np.float32) if read.boxes is None else read.boxes,
        }
        if given.get("input_masks") is not None:
            masks = read_batch_of_masks(given["input_masks"], 1, as_tensors=False)
            inputs["input_masks"] = mask_prompts(masks, [self.folder.image_size])
        return inputs

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        apply_non_overlapping_constraints: bool = False,
    ) -> list[np.ndarray]:
        """Bring mask logits to the size of their images; see `sam2_hf.Sam2ImageProcessor.post_process_masks`."""
        exclusive = apply_non_overlapping_constraints
        restore = MaskRestorer(mask_threshold, binarize, max_hole_area, max_sprinkle_area, exclusive, as_tensors=False)
        return restore(masks, read_sizes(original_sizes))


class VideoProcessor(SessionPrompting, Processor):
    """What `sam2_hf.Sam2VideoProcessor` does, by NumPy and Pillow."""

    session_class = VideoSession

    def init_video_session(
        self,
        video: Any = None,
        retention: Retention | RetentionRule | None = None,
        memory_policy: PolicySetting | None = None,
        max_vision_features_cache_size: int = 1,
    ) -> VideoSession:
        """Open a session. Nothing is decoded but the first frame.

        Args:
            video: a path, folder, list, array, generator, camera or address; None for a stream whose frames are handed
                to the model one by one.
            retention: "checkpointed", "everything", "readable" or a rule with settings; see `SessionState`.
            memory_policy: what objects read, keep and promote; that of the model by default.
            max_vision_features_cache_size: how many frames' features are kept for further prompts on them.

        Returns:
            The session, without objects.

        Raises:
            ValueError: settings that mean nothing.
            Exception: what `open_video` raises.
        """
        source = video if video is None or isinstance(video, VideoSource) else open_video(video)
        size = (None, None) if source is None else source.size
        return VideoSession(
            ArrayFrames(source, self), size, retention, max_vision_features_cache_size, None, memory_policy
        )

    def model_input_size(self) -> Size:
        """(height, width) of the model's input, which coordinates are scaled to."""
        return self.folder.image_size
