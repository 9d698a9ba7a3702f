"""Outlines for other tools: YOLO segments as text, and GeoJSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .coco import category_of
from .georeference import PIXELS
from .records import ObjectMask


def to_yolo(objects: Iterable[ObjectMask], classes: Sequence[str], tolerance: float = 1.0) -> str:
    """Write outlines as YOLO's segmentation labels.

    Args:
        objects: of one image.
        classes: names of the classes; an object's class is the position of its name in them.
        tolerance: of the outlines, in pixels.

    Returns:
        A line "class x y x y ..." for each connected part, coordinates from 0 to 1. Holes cannot be written.
    """
    lines = []
    for item in objects:
        height, width = item.size
        number = list(classes).index(category_of(item))
        for polygon in item.polygons(tolerance):
            points = np.clip(polygon.exterior / (width, height), 0, 1)
            lines.append(f"{number} " + " ".join(f"{value:.6f}" for value in points.ravel()))
    return "\n".join(lines) + "\n" * bool(lines)


def to_geojson(
    objects: Iterable[ObjectMask],
    transform: Sequence[float] = PIXELS,
    tolerance: float = 1.0,
    epsg: int | None = None,
) -> dict[str, Any]:
    """Describe outlines as GeoJSON.

    Args:
        objects: of one image or tile.
        transform: (a, b, c, d, e, f), which takes pixels (x, y) to (a x + b y + c, d x + e y + f); pixels by default.
        tolerance: of the outlines, in pixels.
        epsg: number of the coordinate reference system, which is named as GDAL names it; None for none.

    Returns:
        A FeatureCollection with a MultiPolygon for each object that is not empty.
    """
    a, b, c, d, e, f = transform[:6]

    def ring(points: np.ndarray) -> list[list[float]]:
        x, y = points[:, 0], points[:, 1]
        placed = np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
        turned = placed[::-1]  # exteriors run counter-clockwise in GeoJSON, where y points up
        return [*turned.tolist(), turned[0].tolist()]

    features: list[dict[str, Any]] = []
    for item in objects:
        polygons = item.polygons(tolerance)
        if polygons:
            coordinates = [[ring(polygon.exterior), *map(ring, polygon.holes)] for polygon in polygons]
            facts = {"name": item.name, "score": item.score, "area": item.area, **item.extra}
            geometry = {"type": "MultiPolygon", "coordinates": coordinates}
            features.append({"type": "Feature", "properties": facts, "geometry": geometry})
    name = {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}
    system = {} if epsg is None else {"crs": {"type": "name", "properties": name}}
    return {"type": "FeatureCollection", **system, "features": features}
