"""Clips: objects clicked on the first frame and tracked to the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..masks.drawing import draw_prompts, overlay_masks
from ..modeling_sam2_video import Sam2VideoModel
from ..processing_sam2_video import Sam2VideoProcessor
from ..video_io.open_video import VideoSource, open_video
from ..video_io.write_video import write_video
from .images import Point

DEFAULT_FPS = 25.0
_STRIP_FRAMES, _STRIP_HEIGHT = 6, 240


@dataclass(frozen=True)
class Tracker:
    """A video model with its processor and its name."""

    name: str
    model: Sam2VideoModel
    processor: Sam2VideoProcessor


@dataclass
class Tracked:
    """Results of tracking N objects.

    Args:
        areas: for each frame the area of each object in pixels.
        scores: for each frame the object score of each object, a logit.
        seconds: the time that tracking took.
        strip: some of the frames with their masks, reduced in size.
    """

    areas: list[list[int]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    strip: list[Image.Image] = field(default_factory=list)


def load_tracker(checkpoint: str) -> Tracker:
    """Load a video checkpoint, a folder or a name on the Hub, on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Sam2VideoModel.from_pretrained(checkpoint).to(device).eval()
    return Tracker(checkpoint, model, Sam2VideoProcessor.from_pretrained(checkpoint))


def track_clicks(
    tracker: Tracker, clip: Any, points: Sequence[Point] | None, path: Path, max_frames: int | None = None
) -> Tracked:
    """Track objects through a clip and write it with their masks.

    Args:
        tracker: the model.
        clip: anything that `open_video` takes.
        points: a point (x, y) on each object in the first frame, in pixels; None for one in the middle.
        path: the video file to write. Some frames, side by side, go to the same name with the suffix ".png".
        max_frames: where to stop; None for the end of the clip.

    Returns:
        Areas and object scores in each frame, and the time that tracking took.
    """
    tracked = Tracked()
    with open_video(clip) as video:
        chosen = list(points or [(video.width // 2, video.height // 2)])
        shown = _shown_frames(len(video), max_frames)
        frames = _overlaid_frames(tracker, video, chosen, tracked, max_frames, shown)
        write_video(path, frames, fps=video.fps or DEFAULT_FPS)
    _join(tracked.strip).save(path.with_suffix(".png"))
    return tracked


def _shown_frames(length: int, max_frames: int | None) -> set[int]:
    last = min(length, max_frames or length) - 1
    return {round(last * step / (_STRIP_FRAMES - 1)) for step in range(_STRIP_FRAMES)}


def _overlaid_frames(
    tracker: Tracker,
    video: VideoSource,
    points: list[Point],
    tracked: Tracked,
    max_frames: int | None,
    shown: set[int],
) -> Iterator[np.ndarray]:
    model, processor = tracker.model, tracker.processor
    session = processor.init_video_session(video, inference_device=model.device, retention="readable")
    processor.add_inputs_to_inference_session(
        session,
        frame_idx=0,
        obj_ids=list(range(1, len(points) + 1)),
        input_points=[[[list(point)] for point in points]],
        input_labels=[[[1] for _ in points]],
    )
    later_frames = None if max_frames is None else max_frames - 1
    start = time.perf_counter()
    for output in model.propagate_in_video_iterator(session, 0, later_frames):
        masks = processor.post_process_masks([output.pred_masks.cpu()], [[video.height, video.width]])[0][:, 0]
        tracked.areas.append(masks.flatten(1).sum(dim=1).tolist())
        tracked.scores.append(output.object_score_logits.flatten().tolist())
        tracked.seconds = time.perf_counter() - start
        image = overlay_masks(Image.fromarray(video[output.frame_idx].permute(1, 2, 0).numpy()), masks)
        if output.frame_idx in shown:
            tracked.strip.append(_small(draw_prompts(image, points if output.frame_idx == 0 else ())))
        yield np.asarray(image)


def _small(image: Image.Image) -> Image.Image:
    height = min(_STRIP_HEIGHT, image.height)
    return image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)


def _join(images: Sequence[Image.Image], gap: int = 4) -> Image.Image:
    """Join images of one height side by side."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    joined = Image.new("RGB", (width, images[0].height), "white")
    left = 0
    for image in images:
        joined.paste(image, (left, 0))
        left += image.width + gap
    return joined
