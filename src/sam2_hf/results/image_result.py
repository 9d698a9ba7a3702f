"""The objects of one image, and what can be made of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..masks.polygons import Polygon
from .coco import category_of, to_coco
from .georeference import GeoReference, read_georeference
from .json_file import written_json
from .label_maps import label_map
from .overlay import OverlayStyle, colours_of, draw_overlay, read_style
from .record_writer import write_records
from .records import ImageRecord, ObjectMask
from .supervision import to_detections
from .tables import CsvWriter, ParquetWriter
from .vector_files import to_geojson, to_yolo

_LOSSY, _QUALITY = (".jpg", ".jpeg", ".webp"), 95
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class ImageResult:
    """The objects of one image or of one frame.

    Args:
        objects: what was found, or what computes it when it is first asked for.
        pixels: the image, uint8 (height, width, 3), or what reads it when it is asked for.
        size: (height, width) in pixels.
        file_name: where the image came from; "" if it was in memory.
        frame: number of the frame, for a clip.
    """

    def __init__(
        self,
        objects: Sequence[ObjectMask] | Callable[[], Sequence[ObjectMask]],
        pixels: np.ndarray | Callable[[], np.ndarray],
        size: tuple[int, int],
        file_name: str = "",
        frame: int | None = None,
    ):
        self._found = objects
        self.size = size
        self.file_name = file_name
        self.frame = frame
        self._pixels = pixels

    # Values

    @cached_property
    def objects(self) -> list[ObjectMask]:
        """What was found."""
        return list(self._found() if callable(self._found) else self._found)

    @property
    def record(self) -> ImageRecord:
        """The objects without the pixels, as the writers of files take them."""
        return ImageRecord(self.objects, self.size, self.file_name, self.frame)

    @property
    def names(self) -> list[Hashable]:
        """The names of the objects, or their numbers from 1."""
        return [item.name for item in self.objects]

    @property
    def masks(self) -> np.ndarray:
        """(objects, height, width), bool. Decoded anew by each use."""
        masks = np.zeros((len(self.objects), *self.size), bool)
        for index, item in enumerate(self.objects):
            masks[index] = item.mask
        return masks

    @property
    def scores(self) -> np.ndarray:
        """(objects,) float64, predicted IoU of each mask; NaN where nothing predicts it."""
        return np.array([np.nan if item.score is None else item.score for item in self.objects], np.float64)

    @property
    def boxes(self) -> np.ndarray:
        """(objects, 4) int64 of (x0, y0, x1, y1) in pixels; x1 and y1 lie beyond the mask. Zeros if it is empty."""
        return np.array([item.box for item in self.objects], np.int64).reshape(-1, 4)

    @property
    def areas(self) -> np.ndarray:
        """(objects,) int64, pixels of each mask."""
        return np.array([item.area for item in self.objects], np.int64)

    @property
    def visible(self) -> np.ndarray:
        """(objects,) bool, whether each is in sight."""
        return np.array([item.visible for item in self.objects], bool)

    @property
    def image(self) -> Image.Image:
        """The image, RGB. One that was read by windows has at most 4096 pixels along its longer side."""
        return Image.fromarray(self._pixels() if callable(self._pixels) else self._pixels)

    def polygons(self, tolerance: float = 1.0) -> list[list[Polygon]]:
        """Trace the masks.

        Args:
            tolerance: how far outlines may lie from the edges of the pixels, in pixels; 0 for exact ones.

        Returns:
            For each object its connected parts, each with an exterior (n, 2) of (x, y) and holes.
        """
        return [item.polygons(tolerance) for item in self.objects]

    def __getitem__(self, name: Hashable) -> ObjectMask:
        """Find an object by its name.

        Raises:
            KeyError: there is none of that name.
        """
        for item in self.objects:
            if item.name == name:
                return item
        raise KeyError(f"there is no object {name!r}, only {self.names}")

    def renamed(self, names: Mapping[Any, Hashable]) -> ImageResult:
        """Give objects other names; those that are not among `names` are left out."""
        objects = [replace(item, name=names[item.name]) for item in self.objects if item.name in names]
        return ImageResult(objects, self._pixels, self.size, self.file_name, self.frame)

    def __len__(self) -> int:
        return len(self.objects)

    def __iter__(self) -> Iterator[ObjectMask]:
        return iter(self.objects)

    def __repr__(self) -> str:
        where = "" if self.frame is None else f"frame {self.frame}, "
        found = ", ".join(self._describe(item) for item in self.objects[:8]) + ", ..." * (len(self.objects) > 8)
        height, width = self.size
        return f"<{type(self).__name__} {where}{width}x{height}, {len(self.objects)} objects: {found}>"

    @staticmethod
    def _describe(item: ObjectMask) -> str:
        return f"{item.name}" if item.score is None else f"{item.name} ({item.score:.2f})"

    # Images

    def overlay(
        self, style: str | OverlayStyle = "fill", colours: dict[Hashable, Any] | None = None, **changes: Any
    ) -> Image.Image:
        """Draw the objects over the image.

        Args:
            style: "fill", "contour", "spotlight", "legend", "plain" or an `OverlayStyle`.
            colours: an RGB colour by name, 0 to 255.
            changes: settings of `OverlayStyle` that replace those of the style.

        Returns:
            An RGB image.
        """
        chosen = colours or colours_of(self.names)
        image = self.image
        return draw_overlay(image, self._shown_on(image), read_style(style, changes), chosen)

    def _shown_on(self, image: Image.Image) -> list[ObjectMask]:
        """The objects at the size of the image, which is smaller than their own where it was read by windows."""
        size = (image.height, image.width)
        return self.objects if size == self.size else [item.scaled(size) for item in self.objects]

    def show(self, **style: Any) -> None:
        """Open the overlay in the system's image viewer."""
        self.overlay(**style).show()

    def _repr_png_(self) -> bytes:
        """The overlay, where a notebook shows this."""
        content = io.BytesIO()
        self.overlay().save(content, "PNG")
        return content.getvalue()

    def cutout(self, name: Hashable | None = None, crop: bool = True) -> Image.Image:
        """Cut objects out of the image.

        Args:
            name: one object; all of them by default.
            crop: whether the image is cut to the box around them.

        Returns:
            An RGBA image, transparent outside of the objects.

        Raises:
            ValueError: the mask is empty.
        """
        image = self.image.convert("RGBA")
        shown = self._shown_on(image)
        chosen = shown if name is None else [shown[self.names.index(self[name].name)]]
        alpha = np.zeros((image.height, image.width), bool)
        for item in chosen:
            alpha |= item.mask
        if not alpha.any():
            raise ValueError(f"there is nothing to cut out: the mask of {name!r} is empty" if name else "no masks")
        image.putalpha(Image.fromarray(alpha.astype(np.uint8) * 255))
        return image.crop(image.getchannel("A").getbbox()) if crop else image

    def label_map(self) -> np.ndarray:
        """Write which object each pixel belongs to: uint8 (height, width), 0 for none, else a number from 1.

        Raises:
            ValueError: more than 254 objects.
        """
        return label_map(self.objects, self.size, self.names)

    # Files

    def save(self, path: str | os.PathLike[str], **style: Any) -> Path:
        """Write a file of the kind that its suffix names.

        Args:
            path: ".png", ".jpg", ".webp", ".bmp", ".tif": the overlay. ".json": COCO. ".csv", ".parquet": a table.
                ".txt": YOLO segments. ".geojson": outlines.
            style: of the overlay; see `overlay`.

        Returns:
            The path.

        Raises:
            ValueError: a suffix of another kind.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            options: dict[str, Any] = {"quality": _QUALITY} if suffix in _LOSSY else {}
            self.overlay(**style).save(path, **options)
            return path
        writers: dict[str, Callable[..., Any]] = {
            ".json": self.to_coco,
            ".csv": self.to_csv,
            ".parquet": self.to_parquet,
            ".txt": self.to_yolo,
            ".geojson": self.to_geojson,
        }
        if suffix not in writers:
            known = ", ".join((*IMAGE_SUFFIXES, *writers))
            raise ValueError(f"path must end in one of {known}, got '{path}'")
        writers[suffix](path)
        return path

    def to_coco(
        self, path: str | os.PathLike[str] | None = None, as_polygons: bool = False, tolerance: float = 1.0
    ) -> dict[str, Any]:
        """Describe the objects as a COCO data set, and write it where a path is given; see `coco.to_coco`."""
        return written_json(to_coco([self.record], as_polygons, tolerance), path)

    def to_geojson(
        self, path: str | os.PathLike[str] | None = None, transform: Sequence[float] | None = None
    ) -> dict[str, Any]:
        """Describe the outlines as GeoJSON, and write it where a path is given; see `vector_files.to_geojson`.

        Args:
            path: the file.
            transform: from pixels to coordinates. By default that of the image's file where it is a GeoTIFF, together
                with its coordinate reference system, else pixels.
        """
        found = GeoReference() if transform is not None else read_georeference(self.file_name) or GeoReference()
        content = to_geojson(self.objects, transform or found.transform, epsg=found.epsg)
        return written_json(content, path)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table with a row for each object; see `tables.table_rows`."""
        write_records([self.record], CsvWriter(path))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table with run lengths as Parquet; see `tables.ParquetWriter`."""
        write_records([self.record], ParquetWriter(path))

    def to_yolo(
        self, path: str | os.PathLike[str] | None = None, classes: Sequence[str] | None = None, tolerance: float = 1.0
    ) -> str:
        """Write YOLO segments; see `vector_files.to_yolo`. Classes are the names by default, in their order."""
        text = to_yolo(self.objects, classes or list(dict.fromkeys(map(category_of, self.objects))), tolerance)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def to_supervision(self) -> Any:
        """Make `supervision.Detections`: boxes, masks, confidence, and `tracker_id` for a frame of a clip.

        Raises:
            ImportError: supervision is not installed.
        """
        return to_detections(self.record)
