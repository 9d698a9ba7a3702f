"""Clips: one object clicked on the first frame and followed to the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..configuration_sam2 import Sam2VideoConfig
from ..image_processing_sam2 import Sam2ImageProcessor
from ..modeling_sam2_video import Sam2VideoModel
from ..processing_sam2_video import Sam2VideoProcessor
from ..video_source import VideoSource, open_video
from ..video_writing import write_video
from ..visualize import overlay_masks
from .images import RANDOM_PRESET
from .weights import random_model

# With random weights a clip shows that every part runs, which some frames show as well as all.
RANDOM_FRAMES = 8
DEFAULT_FPS = 25.0


@dataclass(frozen=True)
class Tracker:
    """A video model with its processor."""

    name: str
    model: Sam2VideoModel
    processor: Sam2VideoProcessor
    is_random: bool = False


@dataclass
class Tracked:
    """What was seen of the object in each frame: its area in pixels, and the model's object score (logit)."""

    areas: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0


def load_tracker(checkpoint: str | None) -> Tracker:
    """The model to show: a checkpoint, or a full-size one with random weights."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if checkpoint is not None:
        model = Sam2VideoModel.from_pretrained(checkpoint).to(device).eval()
        return Tracker(checkpoint, model, Sam2VideoProcessor.from_pretrained(checkpoint))
    model = random_model(Sam2VideoConfig.from_preset(RANDOM_PRESET), model_class=Sam2VideoModel).to(device)
    return Tracker(RANDOM_PRESET, model, Sam2VideoProcessor(Sam2ImageProcessor()), is_random=True)


def track_click(
    tracker: Tracker, clip: str, point: tuple[int, int] | None, path: Path, max_frames: int | None = None
) -> Tracked:
    """Follows what lies at `point` (x, y) of the first frame, by default its middle; writes the clip with its mask."""
    tracked = Tracked()
    with open_video(clip) as video:
        frames = _overlaid_frames(tracker, video, point, tracked, max_frames)
        write_video(path, frames, fps=video.fps or DEFAULT_FPS)
    return tracked


def _overlaid_frames(
    tracker: Tracker, video: VideoSource, point: tuple[int, int] | None, tracked: Tracked, max_frames: int | None
) -> Iterator[np.ndarray]:
    model, processor = tracker.model, tracker.processor
    x, y = point or (video.width // 2, video.height // 2)
    session = processor.init_video_session(video, inference_device=model.device, retention="readable")
    processor.add_inputs_to_inference_session(session, 0, [1], input_points=[[[[x, y]]]], input_labels=[[[1]]])
    beyond_the_first = None if max_frames is None else max_frames - 1
    start = time.perf_counter()
    for output in model.propagate_in_video_iterator(session, 0, beyond_the_first):
        masks = processor.post_process_masks([output.pred_masks.cpu()], [[video.height, video.width]])[0][:, 0]
        tracked.areas.append(int(masks.sum()))
        tracked.scores.append(float(output.object_score_logits[0]))
        tracked.seconds = time.perf_counter() - start
        picture = Image.fromarray(video[output.frame_idx].permute(1, 2, 0).numpy())
        yield np.asarray(overlay_masks(picture, masks))
