"""Sessions without a model."""

from __future__ import annotations

import numpy as np
import torch

from sam2_hf.image_processing_sam2 import Sam2ImageProcessor
from sam2_hf.tracking.frame_result import FrameMemory, FrameResult
from sam2_hf.tracking.prompts import PointPrompt
from sam2_hf.tracking.session import Sam2VideoInferenceSession
from sam2_hf.video_io.open_video import open_video

SIZE = (32, 48)
PROCESSOR = Sam2ImageProcessor(size={"height": 32, "width": 48})


def frames(count: int = 6) -> list[np.ndarray]:
    return [np.full((20, 30, 3), 10 * index, np.uint8) for index in range(count)]


def clip(count: int = 6, **settings) -> Sam2VideoInferenceSession:
    return Sam2VideoInferenceSession(open_video(frames(count)), image_processor=PROCESSOR, **settings)


def reading(count: int = 6, **settings) -> Sam2VideoInferenceSession:
    """A session that reads a generator, which keeps its last two frames."""
    source = open_video(iter(frames(count)), cache_size=2)
    return Sam2VideoInferenceSession(source, image_processor=PROCESSOR, **settings)


def streamed(count: int = 3, **settings) -> Sam2VideoInferenceSession:
    session = Sam2VideoInferenceSession(video_height=20, video_width=30, **settings)
    for index in range(count):
        session.add_frame(torch.full((3, *SIZE), float(index)), index)
    return session


def click() -> PointPrompt:
    return PointPrompt(torch.tensor([[1.0, 2.0]]), torch.tensor([1]))


def result(is_conditioning: bool = False, width: int = 4, side: int = 2) -> FrameResult:
    memory = FrameMemory(torch.ones(width, side, side), torch.ones(8))
    return FrameResult(torch.ones(1, 4 * side, 4 * side), torch.ones(1), torch.ones(1), memory, is_conditioning)
