"""Clips: objects clicked on the first frame and tracked to the end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..predictors.tracker import Tracker
from ..results.image_result import ImageResult
from ..results.overlay import colours_of
from ..results.stream_writers import ResultStream
from ..video_io.open_video import open_video
from .images import Point

_STRIP_FRAMES, _STRIP_HEIGHT = 6, 240
_STYLE = "fill"


@dataclass
class Tracked:
    """Results of tracking N objects.

    Args:
        areas: for each frame the area of each object in pixels.
        scores: for each frame the object score of each object, a logit.
        seconds: the time that tracking and writing took.
        strip: some of the frames with their masks, reduced in size.
    """

    areas: list[list[int]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    strip: list[Image.Image] = field(default_factory=list)


def track_clicks(
    tracker: Tracker, clip: Any, points: Sequence[Point] | None, path: Path, max_frames: int | None = None
) -> Tracked:
    """Track objects through a clip and write it with their masks.

    Args:
        tracker: computes them.
        clip: anything that `open_video` takes.
        points: a point (x, y) on each object in the first frame, in pixels; None for one in the middle.
        path: the video file to write. Some frames, side by side, go to the same name with the suffix ".png".
        max_frames: where to stop; None for the end of the clip.

    Returns:
        Areas and object scores in each frame, and the time that it took.
    """
    tracked = Tracked()
    with open_video(clip) as video:
        chosen = list(points or [(video.width // 2, video.height // 2)])
        shown = _shown_frames(len(video), max_frames)
        start = time.perf_counter()
        stream = tracker.stream(video, dict(enumerate(chosen, start=1)))
        frames = _watched(itertools.islice(stream, max_frames), tracked, shown, stream.names)
        ResultStream(frames, stream.names, video.fps, stream.name).save(path, style=_STYLE)
        tracked.seconds = time.perf_counter() - start
    _join(tracked.strip).save(path.with_suffix(".png"))
    return tracked


def _shown_frames(length: int, max_frames: int | None) -> set[int]:
    last = min(length, max_frames or length) - 1
    return {round(last * step / (_STRIP_FRAMES - 1)) for step in range(_STRIP_FRAMES)}


def _watched(
    results: Iterator[ImageResult], tracked: Tracked, shown: set[int], names: Sequence[Any]
) -> Iterator[ImageResult]:
    """Take notes of frames while they pass."""
    for result in results:
        tracked.areas.append([item.area for item in result])
        tracked.scores.append([item.object_score or 0.0 for item in result])
        if result.frame in shown:
            tracked.strip.append(_small(result.overlay(_STYLE, colours_of(names))))
        yield result


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
