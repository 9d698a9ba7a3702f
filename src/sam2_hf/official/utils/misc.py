"""What programs import from `sam2.utils.misc`: frames of a video, holes, boxes and points."""

from __future__ import annotations

import os
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...image_processing_sam2 import Sam2ImageProcessor
from ...masks import boxes as mask_boxes
from ...masks import connected_components as components
from ...video_io.open_video import VideoSource, open_video
from ..device import as_device
from .transforms import MEAN, STD

Pixels = tuple[Any, int, int]

_BICUBIC = 3


def frame_processor(
    image_size: Any, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD
) -> Sam2ImageProcessor:
    """What turns a frame into the model's input: resized as Meta's code resizes frames, by bicubic interpolation."""
    return Sam2ImageProcessor(size=image_size, resample=_BICUBIC, image_mean=list(mean), image_std=list(std))


class VideoFrames:
    """Frames of a video as the model's input, each (3, H, W), read and resized when it is asked for.

    Args:
        video: the source.
        processor: resizes and normalises.
        device: where the frames are put.
    """

    def __init__(self, video: VideoSource, processor: Sam2ImageProcessor, device: torch.device) -> None:
        self.video = video
        self._processor = processor
        self._device = device

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, index: int) -> Tensor:
        if index < 0:
            index += len(self)
        pixels = self._processor(self.video[index], input_data_format="channels_first", return_tensors="pt")
        return pixels["pixel_values"][0].to(self._device)


def load_video_frames(
    video_path: Any,
    image_size: Any,
    offload_video_to_cpu: bool,
    img_mean: tuple[float, ...] = MEAN,
    img_std: tuple[float, ...] = STD,
    async_loading_frames: bool = False,
    compute_device: Any = "cuda",
) -> Pixels:
    """Reads the frames of a video as the model's input.

    `SAM2VideoPredictor.init_state` does not need this: it reads a frame when it is tracked. A program may put a
    function of its own in the place of this one, which `init_state` then calls.

    Args:
        video_path: anything that `open_video` takes.
        image_size: side of the model's input in pixels, or its height and width.
        offload_video_to_cpu: whether the frames are put on the CPU, or on `compute_device`.
        img_mean: subtracted from the three channels, which are between 0 and 1.
        img_std: divided by.
        async_loading_frames: return frames that are read when they are asked for.
        compute_device: where the model computes.

    Returns:
        Frames (frames, 3, H, W) float32, or a sequence of them; height and width of the video in pixels.

    Raises:
        OSError, ValueError, TypeError: see `open_video`.
    """
    video = open_video(os.fspath(video_path) if isinstance(video_path, os.PathLike) else video_path)
    device = torch.device("cpu") if offload_video_to_cpu else as_device(compute_device)
    frames = VideoFrames(video, frame_processor(image_size, img_mean, img_std), device)
    if async_loading_frames:
        return frames, video.height, video.width
    return torch.stack([frames[index] for index in range(len(frames))]), video.height, video.width


def _load_img_as_tensor(img_path: Any, image_size: Any) -> Pixels:
    """An image file as (3, H, W) between 0 and 1, not normalised; its height and width. Programs call it so."""
    with Image.open(img_path) as image:
        pixels = frame_processor(image_size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(
            image.convert("RGB"), return_tensors="pt"
        )
        return pixels["pixel_values"][0], image.height, image.width


def load_video_frames_from_jpg_images(
    video_path: Any,
    image_size: Any,
    offload_video_to_cpu: bool,
    img_mean: tuple[float, ...] = MEAN,
    img_std: tuple[float, ...] = STD,
    async_loading_frames: bool = False,
    compute_device: Any = "cuda",
) -> Pixels:
    """Reads a folder of images; see `load_video_frames`."""
    return load_video_frames(
        video_path, image_size, offload_video_to_cpu, img_mean, img_std, async_loading_frames, compute_device
    )


def load_video_frames_from_video_file(
    video_path: Any,
    image_size: Any,
    offload_video_to_cpu: bool,
    img_mean: tuple[float, ...] = MEAN,
    img_std: tuple[float, ...] = STD,
    compute_device: Any = "cuda",
) -> Pixels:
    """Reads a video file; see `load_video_frames`."""
    return load_video_frames(
        video_path, image_size, offload_video_to_cpu, img_mean, img_std, compute_device=compute_device
    )


def fill_holes_in_mask_scores(mask: Tensor, max_area: float) -> Tensor:
    """Logits (..., height, width) with a small positive value in holes of at most `max_area` pixels."""
    return components.fill_holes(mask, max_area)


def get_connected_components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and areas (N, 1, H, W) int32 of the 8-connected components of masks (N, 1, H, W), 0 in the background."""
    return components.connected_components(mask.bool())


def mask_to_box(masks: Tensor) -> Tensor:
    """Boxes (B, 1, 4) int32 around masks (B, 1, H, W) bool: left, top, right, bottom, inclusive.

    An empty mask has the box (W, H, -1, -1).
    """
    boxes = mask_boxes.mask_to_box(masks)
    nothing = boxes.new_tensor([masks.shape[-1], masks.shape[-2], -1, -1])
    return torch.where(masks.flatten(-2).any(dim=-1, keepdim=True), boxes, nothing).int()


def concat_points(old_point_inputs: dict[str, Tensor] | None, new_points: Tensor, new_labels: Tensor) -> dict:
    """Points (B, N, 2) and labels (B, N) behind those of `old_point_inputs`, if there are any."""
    if old_point_inputs is not None:
        new_points = torch.cat([old_point_inputs["point_coords"], new_points], dim=1)
        new_labels = torch.cat([old_point_inputs["point_labels"], new_labels], dim=1)
    return {"point_coords": new_points, "point_labels": new_labels}


def get_sdpa_settings() -> tuple[bool, bool, bool]:
    """Whether the GPU is old, whether it has Flash Attention, and whether the plain kernel is needed."""
    if not torch.cuda.is_available():
        return True, False, True
    major = torch.cuda.get_device_properties(0).major
    return major < 7, major >= 8, major < 8
