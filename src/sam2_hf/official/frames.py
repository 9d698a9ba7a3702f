"""Frames that a program has read and normalised itself, as a source of video."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from torch import Tensor

from ..image_processing_sam2 import Sam2ImageProcessor
from ..video_io.open_video import VideoSource

UNCHANGED = {"do_resize": False, "do_rescale": False, "do_normalize": False}


class LoadedFrames(VideoSource):
    """Frames that are the model's input already.

    Args:
        images: (frames, 3, H, W), or anything with a length that gives (3, H, W) for an index.
        height: height of the original video in pixels.
        width: its width.
    """

    def __init__(self, images: Any, height: int, width: int) -> None:
        super().__init__("the frames of load_video_frames", cache_size=1, prefetch=0)
        self.images = images
        self._size = (int(height), int(width))

    @property
    def num_frames(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def _load(self, index: int) -> Tensor:
        return self.images[index]

    def _read(self, indices: range) -> Generator[Tensor, None, None]:
        return (self._load(index) for index in indices)


def unchanging_processor(image_size: Any) -> Sam2ImageProcessor:
    """An image processor that leaves frames as they are."""
    return Sam2ImageProcessor(size=image_size, **UNCHANGED)
