"""COCO JSON, as pycocotools reads it, of an image, of several, or of a clip."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .records import ObjectMask

if TYPE_CHECKING:
    from .image_result import ImageResult

UNNAMED = "object"


def to_coco(results: Iterable[ImageResult], as_polygons: bool = False, tolerance: float = 1.0) -> dict[str, Any]:
    """Describe masks as a COCO data set.

    Args:
        results: one for each image or frame.
        as_polygons: write outlines instead of run lengths. COCO's polygons have no holes.
        tolerance: of the outlines, in pixels.

    Returns:
        `images`, `categories` and `annotations`. Categories are the names that are texts; objects that only have
        numbers are of the category "object". `score` is the predicted IoU. Annotations of the frames of a clip have
        `track_id`, the same for an object in all frames. Empty masks are left out.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    tracks: dict[Any, int] = {}
    for number, result in enumerate(results, start=1):
        height, width = result.size
        frame = {} if result.frame is None else {"frame_index": result.frame}
        images.append({"id": number, "file_name": result.file_name, "width": width, "height": height, **frame})
        for item in result.objects:
            if not item.area:
                continue
            category = categories.setdefault(category_of(item), len(categories) + 1)
            track = {} if result.frame is None else {"track_id": tracks.setdefault(item.name, len(tracks) + 1)}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    **track,
                    **_annotation(item, as_polygons, tolerance),
                }
            )
    listed = [{"id": number, "name": name} for name, number in categories.items()]
    return {"images": images, "categories": listed, "annotations": annotations}


def category_of(item: ObjectMask) -> str:
    """Name the kind of an object: its name where that is a text."""
    return item.name if isinstance(item.name, str) else UNNAMED


def _annotation(item: ObjectMask, as_polygons: bool, tolerance: float) -> dict[str, Any]:
    x0, y0, x1, y1 = item.box
    segmentation: Any = item.compressed_rle()
    if as_polygons:
        segmentation = [np.round(polygon.exterior, 2).ravel().tolist() for polygon in item.polygons(tolerance)]
    scores = {"score": item.score} if item.score is not None else {}
    return {
        "segmentation": segmentation,
        "area": item.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        **scores,
        **item.extra,
    }
