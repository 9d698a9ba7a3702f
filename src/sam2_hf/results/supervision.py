"""Results as the detections of `supervision`, for its annotators, trackers and zones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from .records import ImageRecord


def to_detections(record: ImageRecord, tracks: Sequence[Hashable] | None = None) -> Any:
    """Make detections of the objects that are in sight.

    Args:
        record: of an image or a frame.
        tracks: the names of all objects of the clip; the `class_id` of an object is its position in them, from 0, and
            its `tracker_id` from 1. By default the objects of this frame.

    Returns:
        `supervision.Detections` with `xyxy`, `mask`, `confidence` (predicted IoU), `class_id`, by which annotators
        give each object a colour of its own, `data["class_name"]`, and for a frame of a clip `tracker_id`.

    Raises:
        ImportError: supervision is not installed.
    """
    try:
        from supervision import Detections  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("detections need supervision; install it with: pip install supervision") from error
    shown = [item for item in record.objects if item.visible]
    names = list(tracks if tracks is not None else [item.name for item in record.objects])
    numbers = np.array([names.index(item.name) for item in shown], int)
    masks = np.stack([item.mask for item in shown]) if shown else np.zeros((0, *record.size), bool)
    return Detections(
        xyxy=np.array([item.box for item in shown], np.float64).reshape(-1, 4),
        mask=masks,
        confidence=np.array([1.0 if item.score is None else item.score for item in shown], np.float64),
        class_id=numbers,
        tracker_id=None if record.frame is None else numbers + 1,
        data={"class_name": np.array([str(item.name) for item in shown])},
    )
