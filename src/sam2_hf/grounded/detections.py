"""What detectors return, read in one form: a box, a score and a label for each object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..sizes import Size

Box = tuple[float, float, float, float]
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Detection(NamedTuple):
    """One object: box (x0, y0, x1, y1) in pixels of the image, score, and label."""

    box: Box
    score: float
    label: str


def read_detections(found: Any, size: Size, least_score: float = 0.0) -> list[Detection]:
    """Read what a detector returned for one image.

    Args:
        found: a list of dictionaries {"score", "label", "box"} with a box {"xmin", "ymin", "xmax", "ymax"} or four
            numbers, as pipelines of transformers return; a dictionary of "boxes", "scores" and "labels" (or
            "text_labels"), as their processors do; `supervision.Detections`; or tuples (box, score, label).
        size: (height, width) of the image, to which boxes are cut.
        least_score: those with a lower one are left out.

    Returns:
        The detections by descending score; those without any pixel in the image are left out.

    Raises:
        TypeError, ValueError: another form, naming what was expected and what came.
    """
    detections = []
    for index, (box, score, label) in enumerate(_entries(found)):
        detection = Detection(_box(box, size, index), _score(score, index), str(label))
        x0, y0, x1, y1 = detection.box
        if x0 < x1 and y0 < y1 and detection.score >= least_score:
            detections.append(detection)
    return sorted(detections, key=lambda detection: -detection.score)


def _entries(found: Any) -> list[tuple[Any, Any, Any]]:
    if hasattr(found, "xyxy"):
        return _of_supervision(found)
    if isinstance(found, Mapping):
        return _of_arrays(found)
    if isinstance(found, (str, bytes)) or not isinstance(found, Sequence):
        raise TypeError(f"the detector must return a list of detections, got {type(found).__name__}")
    if len(found) == 1 and isinstance(found[0], (list, Mapping)) and not _is_detection(found[0]):
        return _entries(found[0])  # of one image in a list
    return [_of_item(item, index) for index, item in enumerate(found)]


def _is_detection(item: Any) -> bool:
    return isinstance(item, Mapping) and "box" in item


def _of_item(item: Any, index: int) -> tuple[Any, Any, Any]:
    if isinstance(item, Mapping) and {"box", "score", "label"} <= item.keys():
        return item["box"], item["score"], item["label"]
    if isinstance(item, Sequence) and not isinstance(item, (str, bytes)) and len(item) == 3:
        return item[0], item[1], item[2]
    raise ValueError(
        f"detection {index} must be a dictionary with score, label and box, or (box, score, label), got {item!r}"
    )


def _of_arrays(found: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
    labels = found.get("text_labels")
    labels = found.get("labels") if labels is None else labels
    if labels is None or "boxes" not in found or "scores" not in found:
        raise ValueError(
            f"detections must have boxes, scores and labels, got {', '.join(map(str, found)) or 'nothing'}"
        )
    boxes, scores, names = _list(found["boxes"]), _list(found["scores"]), _list(labels)
    if not len(boxes) == len(scores) == len(names):
        raise ValueError(
            f"detections must have equally many boxes, scores and labels, got {len(boxes)}, {len(scores)} and "
            f"{len(names)}"
        )
    return list(zip(boxes, scores, names, strict=True))


def _of_supervision(found: Any) -> list[tuple[Any, Any, Any]]:
    boxes = np.asarray(found.xyxy).tolist()
    scores = [1.0] * len(boxes) if found.confidence is None else np.asarray(found.confidence).tolist()
    names = (getattr(found, "data", None) or {}).get("class_name")
    if names is None:
        names = ["object"] * len(boxes) if found.class_id is None else found.class_id
    return list(zip(boxes, scores, _list(names), strict=True))


def _list(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _box(box: Any, size: Size, index: int) -> Box:
    corners = [box.get(name) for name in _CORNERS] if isinstance(box, Mapping) else _list(box)
    if len(corners) != 4 or not all(isinstance(side, (int, float)) and math.isfinite(side) for side in corners):
        raise ValueError(f"the box of detection {index} must be (x0, y0, x1, y1) in pixels, got {box!r}")
    height, width = size
    x0, y0, x1, y1 = map(float, corners)
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def _score(score: Any, index: int) -> float:
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"the score of detection {index} must be a number, got {score!r}")
    return number
