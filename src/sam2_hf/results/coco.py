"""COCO JSON, as pycocotools reads it, of an image, of several, or of a clip."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from .json_file import GrowingJsonFile, as_json
from .records import ImageRecord, ObjectMask

UNNAMED = "object"


class CocoEntries:
    """Turns records into the entries of a COCO data set, which it numbers.

    Args:
        as_polygons: write outlines instead of run lengths. COCO's polygons have no holes.
        tolerance: of the outlines, in pixels.
    """

    def __init__(self, as_polygons: bool = False, tolerance: float = 1.0):
        self.as_polygons = as_polygons
        self.tolerance = tolerance
        self._images = 0
        self._annotations = 0
        self._categories: dict[str, int] = {}
        self._tracks: dict[Any, int] = {}

    def categories(self) -> list[dict[str, Any]]:
        """List the categories so far."""
        return [{"id": number, "name": name} for name, number in self._categories.items()]

    def add(self, record: ImageRecord) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Make the entries of an image: its own, and those of its objects that are not empty."""
        self._images += 1
        height, width = record.size
        frame = {} if record.frame is None else {"frame_index": record.frame}
        # Readers join the name with a folder: that of an image is not part of it, that of a clip is part of a frame's.
        name = os.path.basename(record.file_name) if record.frame is None else record.file_name
        image = {"id": self._images, "file_name": name, "width": width, "height": height, **frame}
        shown = [item for item in record.objects if item.area]
        return image, [self._annotation(item, is_tracked=record.frame is not None) for item in shown]

    def _annotation(self, item: ObjectMask, is_tracked: bool) -> dict[str, Any]:
        self._annotations += 1
        x0, y0, x1, y1 = item.box
        segmentation: Any = item.compressed_rle()
        if self.as_polygons:
            segmentation = [np.round(part.exterior, 2).ravel().tolist() for part in item.polygons(self.tolerance)]
        track = {"track_id": self._tracks.setdefault(item.name, len(self._tracks) + 1)} if is_tracked else {}
        scores = {"score": item.score} if item.score is not None else {}
        return {
            "id": self._annotations,
            "image_id": self._images,
            "category_id": self._categories.setdefault(category_of(item), len(self._categories) + 1),
            **track,
            "segmentation": segmentation,
            "area": item.area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
            **scores,
            **item.extra,
        }


def to_coco(records: Iterable[ImageRecord], as_polygons: bool = False, tolerance: float = 1.0) -> dict[str, Any]:
    """Describe masks as a COCO data set.

    Args:
        records: one for each image or frame.
        as_polygons: write outlines instead of run lengths. COCO's polygons have no holes.
        tolerance: of the outlines, in pixels.

    Returns:
        `images`, `categories` and `annotations`. Categories are the names that are texts; objects that only have
        numbers are of the category "object". `score` is the predicted IoU. Annotations of the frames of a clip have
        `track_id`, the same for an object in all frames. Empty masks are left out.
    """
    entries = CocoEntries(as_polygons, tolerance)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in records:
        image, found = entries.add(record)
        images.append(image)
        annotations += found
    return {"images": images, "categories": entries.categories(), "annotations": annotations}


class CocoWriter:
    """Writes a COCO data set while images or frames pass, in constant memory. The file is complete JSON at any time.

    Args:
        path: the file.
        as_polygons: see `to_coco`.
        tolerance: see there.
    """

    def __init__(self, path: str | os.PathLike[str], as_polygons: bool = False, tolerance: float = 1.0):
        self._entries = CocoEntries(as_polygons, tolerance)
        self._images: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # entries, with commas between them
        self._file = GrowingJsonFile(path, "annotations", self._write_rest)

    def write(self, record: ImageRecord) -> None:
        """Write an image or frame."""
        image, annotations = self._entries.add(record)
        separator = b",\n" if self._images.tell() else b""
        self._images.write(separator + as_json(image).encode())
        self._file.append(*annotations)

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._file.close()
        self._images.close()

    def _write_rest(self, file: IO[bytes]) -> None:
        self._images.seek(0)
        file.write(b', "images": [')
        shutil.copyfileobj(self._images, file)  # and is at its end again
        file.write(b'], "categories": ' + as_json(self._entries.categories()).encode())


def category_of(item: ObjectMask) -> str:
    """Name the kind of an object: its name where that is a text."""
    return item.name if isinstance(item.name, str) else UNNAMED
