"""COCO: one JSON file with polygons and run lengths for many images (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...masks.rle import rle_to_mask
from .annotated_video import AnnotatedVideo, read_image


class _CocoImage(AnnotatedVideo):
    num_frames = 1
    annotated = (0,)

    def __init__(self, folder: Path, image: dict[str, Any], annotations: list[dict[str, Any]]):
        self.name = image["file_name"]
        self._path = folder / image["file_name"]
        self._size = image["height"], image["width"]
        self._annotations = annotations

    def image(self, frame: int) -> np.ndarray:
        return read_image(self._path)

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        return {
            annotation["id"]: segmentation_to_mask(annotation["segmentation"], self._size)
            for annotation in self._annotations
            if not annotation.get("iscrowd")
        }

    def ignored(self, frame: int) -> np.ndarray | None:
        """Crowds, whose objects are not annotated one by one."""
        crowds = [
            segmentation_to_mask(annotation["segmentation"], self._size)
            for annotation in self._annotations
            if annotation.get("iscrowd")
        ]
        return np.any(crowds, axis=0) if crowds else None


class CocoImages(Sequence[AnnotatedVideo]):
    """The images of a COCO file that have an object, in the file's order.

    Args:
        annotations: the JSON file.
        images: the folder of the file names in it.

    Raises:
        ValueError: if the file is not in COCO's format.
    """

    def __init__(self, annotations: str | os.PathLike[str], images: str | os.PathLike[str]):
        content = json.loads(Path(annotations).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise ValueError(f'{os.fspath(annotations)} must be a COCO file with "images" and "annotations"')
        by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        self._found = [
            _CocoImage(Path(images), image, by_image[image["id"]])
            for image in content["images"]
            if any(not annotation.get("iscrowd") for annotation in by_image[image["id"]])
        ]

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> AnnotatedVideo:  # type: ignore[override]
        return self._found[index]


def segmentation_to_mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Decode a segmentation.

    Args:
        segmentation: polygons, or run lengths, compressed or not.
        size: (height, width) of the image in pixels.

    Returns:
        Mask (height, width) bool.
    """
    if isinstance(segmentation, dict):
        return rle_to_mask(segmentation).numpy()
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        mask |= fill_polygon(np.asarray(polygon, float).reshape(-1, 2), size)
    return mask


def fill_polygon(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Find the pixels whose centre lies inside a polygon: a ray to the left crosses the outline an odd number of times.

    Args:
        corners: (points, 2) as (x, y); the first pixel reaches from 0 to 1.
        size: (height, width) of the image in pixels.

    Returns:
        Mask (height, width) bool.
    """
    height, width = size
    switches = np.zeros((height, width + 1), np.int64)
    for (x0, y0), (x1, y1) in pairwise([*corners, corners[0]]):
        if y0 == y1:
            continue
        top, bottom = np.clip(np.ceil(np.sort([y0, y1]) - 0.5), 0, height).astype(int)
        rows = np.arange(top, bottom)
        crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)
        switches[rows, columns] += 1
    inside: np.ndarray = np.cumsum(switches, axis=1)[:, :width] % 2 == 1
    return inside
