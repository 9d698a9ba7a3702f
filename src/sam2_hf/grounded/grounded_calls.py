"""One call for an image or a clip: the objects that a detector names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from ..everything.everything_tracker import EverythingTracker
from ..predictors.segmenter import Segmenter
from ..predictors.tracker import Tracker
from ..results.clip_result import ClipResult
from ..results.image_result import ImageResult
from ..results.stream_writers import ResultStream
from ..sizes import Size
from ..video_io.open_video import open_video
from .box_finder import BoxFinder, Detector, detect
from .detections import Detection


def segment(
    image: Any,
    labels: Sequence[str] | None = None,
    *,
    detector: Detector,
    least_score: float = 0.3,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
) -> ImageResult:
    """Segment the objects of an image that a detector finds.

    Args:
        image: a PIL image, path, URL, array or tensor.
        labels: what to look for, such as ["a cup"]; None for a detector that knows its own labels.
        detector: a pipeline of transformers for "zero-shot-object-detection" or "object-detection", or any function of
            an image (and of `candidate_labels`) that returns boxes, scores and labels; see `read_detections`.
        least_score: of detections that count.
        checkpoint: of SAM 2, a folder or a name on the Hub; the bundled one by default.
        device: where SAM 2 runs; a GPU where there is one, else the CPU.
        dtype: of its weights, such as "bfloat16"; that of the checkpoint by default.
        image_size: of its input in pixels, int or (height, width); that of the checkpoint by default.

    Returns:
        The objects, named by label and number, "a cup 1", by descending score of the detector; an `ImageResult`
        without objects where nothing is found. `extra` of an object has "label" and "detection_score".

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        OSError: the checkpoint cannot be found.
    """
    labels = _checked(labels)
    segmenter = Segmenter(checkpoint, device, dtype, image_size)
    encoded = segmenter.encode(image)
    detections = detect(detector, Image.fromarray(encoded.pixels), labels, least_score)
    if not detections:
        return ImageResult([], encoded.pixels, encoded.size, encoded.file_name)
    named = _named(detections)
    result = encoded.segment(boxes={name: detection.box for name, detection in named.items()})
    objects = [
        replace(item, extra={"label": named[item.name].label, "detection_score": round(named[item.name].score, 4)})
        for item in result
    ]
    return ImageResult(objects, encoded.pixels, encoded.size, encoded.file_name)


def track(
    clip: Any,
    labels: Sequence[str] | None = None,
    *,
    detector: Detector,
    every: int = 20,
    least_score: float = 0.3,
    backward: bool = False,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
    **settings: Any,
) -> ClipResult | ResultStream:
    """Track the objects of a clip or stream that a detector finds.

    The detector is asked on a frame every so often. What it finds and is tracked already stays as it is; what is new is
    admitted; an object that was lost goes on under its name when it is found again. See `EverythingTracker`, of which
    this is the same with another way to find candidates.

    Args:
        clip: anything that `open_video` takes.
        labels: what to look for, such as ["a cup"]; None for a detector that knows its own labels.
        detector: as for `segment`.
        every: frames between two calls of the detector.
        least_score: of detections that count.
        backward: of a clip, whether objects that were found late are followed back to where they first were visible.
        progress: of a clip, whether a bar shows how far it is.
        checkpoint: of SAM 2, a folder or a name on the Hub; the bundled one by default.
        device: where SAM 2 runs; a GPU where there is one, else the CPU.
        dtype: of its weights; that of the checkpoint by default.
        image_size: of its input in pixels, int or (height, width); that of the checkpoint by default.
        settings: of `EverythingSettings` and `AdmissionRule`, such as `max_objects`.

    Returns:
        Of a clip that can be read in any order a `ClipResult`, of a stream a `ResultStream`, in constant memory.
        Objects are named by label and number, "a cup 1".

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        OSError: the clip or the checkpoint cannot be found.
    """
    labels, source = _checked(labels), open_video(clip)
    if backward and not source.seekable:
        raise ValueError("a stream can only be tracked forward: its frames are gone when they have passed")
    tracker = Tracker(checkpoint, device, dtype, image_size, settings.pop("memory_policy", None))
    finder = BoxFinder(tracker.model, tracker.processor, detector, labels, least_score)
    everything = EverythingTracker.of(tracker, finder, every=every, **settings)
    return everything.track(clip, backward, progress=progress) if source.seekable else everything.stream(source)


def _checked(labels: Any) -> list[str] | None:
    if labels is None:
        return None
    given = [labels] if isinstance(labels, str) else list(labels)
    if not given or not all(isinstance(label, str) and label.strip() for label in given):
        raise ValueError(f'labels must be texts, such as ["a cup"], got {labels!r}')
    return given


def _named(detections: Sequence[Detection]) -> dict[Hashable, Detection]:
    counts: Counter[str] = Counter()
    named: dict[Hashable, Detection] = {}
    for detection in detections:
        counts[detection.label] += 1
        named[f"{detection.label} {counts[detection.label]}"] = detection
    return named
