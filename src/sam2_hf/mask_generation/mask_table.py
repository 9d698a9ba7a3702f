"""Masks that were found on an image, compressed: how they are kept, compared, cleaned and handed out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..masks.boxes import is_near_crop_edge, nms
from ..masks.connected_components import fill_holes, remove_sprinkles
from ..masks.polygons import rle_to_polygons
from ..masks.rle import Rle, compress_rle, mask_run_lengths, rle_area, rle_part, rle_to_array, rle_to_box
from ..masks.rle_overlap import mask_nms


@dataclass(frozen=True)
class MaskTable:
    """N masks of one image, each a run-length code with what is known about it.

    A mask of two million pixels takes some ten thousand bytes here, so what is kept for an image does not grow with
    the number of its pixels, nor with the number of prompts that led to nothing.
    """

    size: tuple[int, int]  # (height, width) of the image
    run_lengths: list[np.ndarray]  # N, see rle.mask_run_lengths
    scores: np.ndarray  # (N,) float32, the IoU that the model predicts
    stability: np.ndarray  # (N,) float32, see stability.stability_score
    points: np.ndarray  # (N, 2) float32, the point that led to the mask, as (x, y) in pixels of the image
    crops: np.ndarray  # (N, 4) int64, the crop that it was found on: left, top, right, bottom (exclusive)

    def __len__(self) -> int:
        return len(self.run_lengths)

    @classmethod
    def none(cls, size: tuple[int, int]) -> MaskTable:
        """No masks."""
        none = np.zeros(0, np.float32)
        return cls(size, [], none, none, none.reshape(0, 2), np.zeros((0, 4), np.int64))

    def cat(self, others: Sequence[MaskTable]) -> MaskTable:
        """These masks, then those of `others`, which are of the same image."""
        tables = [self, *others]
        return MaskTable(
            self.size,
            [counts for table in tables for counts in table.run_lengths],
            *(np.concatenate([getattr(table, name) for table in tables]) for name in _ARRAYS),
        )

    def select(self, indices: np.ndarray) -> MaskTable:
        """The masks at `indices` (K,), in that order."""
        return MaskTable(
            self.size,
            [self.run_lengths[index] for index in indices.tolist()],
            *(getattr(self, name)[indices] for name in _ARRAYS),
        )

    def boxes(self) -> np.ndarray:
        """(N, 4) int64: left, top, right, bottom in pixels of the image, inclusive."""
        return np.array([rle_to_box(rle) for rle in self.rles()], np.int64).reshape(-1, 4)

    def rles(self) -> list[Rle]:
        """The masks as RLE with counts as arrays."""
        return [{"size": list(self.size), "counts": counts} for counts in self.run_lengths]

    def without_empty(self) -> MaskTable:
        return self.select(np.flatnonzero([len(counts) > 1 for counts in self.run_lengths]))

    def without_cut_off(self, tolerance: int = 20) -> MaskTable:
        """Without those that come within `tolerance` pixels of their crop's edge where that is not the image's.

        Their object probably goes on outside of the crop.
        """
        return self.select(np.flatnonzero(~is_near_crop_edge(self.boxes(), self.crops, self.size, tolerance)))

    def without_duplicates(self, iou_threshold: float, scores: np.ndarray | None = None, by: str = "box") -> MaskTable:
        """Non-maximum suppression.

        Args:
            iou_threshold: of two masks with an IoU above it, the better one stays.
            scores: (N,), which of two is better; the predicted IoU by default.
            by: "box" for the IoU of boxes, "mask" for that of the masks themselves.
        """
        return self.select(self._suppress(self.scores if scores is None else scores, iou_threshold, by))

    def _suppress(self, scores: np.ndarray, iou_threshold: float, by: str) -> np.ndarray:
        boxes = self.boxes()
        if by == "mask":
            return mask_nms(self.run_lengths, boxes, scores, iou_threshold)
        return nms(boxes, scores, iou_threshold)

    def lies_within_crops(self) -> np.ndarray:
        """(N,) bool, whether each mask lies in the crop that it was found on; joined ones reach beyond it."""
        boxes = self.boxes()
        within = (boxes[:, :2] >= self.crops[:, :2]) & (boxes[:, 2:] < self.crops[:, 2:])
        return np.asarray(within.all(1))

    def crop_areas(self) -> np.ndarray:
        """(N,) pixels of the crop that each mask was found on."""
        return (self.crops[:, 2:] - self.crops[:, :2]).prod(1)

    def cleaned(self, max_hole_area: float, max_sprinkle_area: float, keep_largest: bool = False) -> MaskTable:
        """With holes filled and islands removed of up to so many pixels; see `connected_components`."""
        if max_hole_area <= 0 and max_sprinkle_area <= 0:
            return self
        run_lengths = []
        for rle in self.rles():
            left, top, right, bottom = _surroundings(rle, max_hole_area)
            mask = fill_holes(rle_part(rle, (left, top, right, bottom)), max_hole_area)
            mask = remove_sprinkles(mask, max_sprinkle_area, keep_largest=keep_largest)
            run_lengths += mask_run_lengths(mask[None], self.size, (top, left))
        return replace(self, run_lengths=run_lengths)

    def without_small_regions(self, min_area: float, iou_threshold: float, by: str = "box") -> MaskTable:
        """Masks with holes and islands of fewer than `min_area` pixels filled and removed.

        The largest island of a mask stays, whatever its size. Masks that are duplicates now are suppressed, where one
        that needed no cleaning is better than one that did. The order stays.
        """
        largest_small = math.ceil(min_area) - 1
        table = self.cleaned(largest_small, largest_small, keep_largest=True)
        pairs = zip(self.run_lengths, table.run_lengths, strict=True)
        unchanged = [np.array_equal(before, after) for before, after in pairs]
        kept = table._suppress(np.array(unchanged, np.float32), iou_threshold, by)
        return table.select(np.sort(kept))

    def records(self, output_mode: str, tolerance: float = 1.0) -> list[dict[str, Any]]:
        """One dict a mask, as the official generator returns them; see `Sam2MaskGenerationPipeline`.

        Args:
            output_mode: of the segmentations.
            tolerance: of polygons, in pixels.
        """
        boxes = self.boxes()
        as_width_and_height = np.array([[1, 0, -1, 0], [0, 1, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]])
        return [
            {
                "segmentation": _SEGMENTATIONS[output_mode](rle, tolerance),
                "area": rle_area(rle),
                "bbox": (box @ as_width_and_height).tolist(),
                "predicted_iou": float(self.scores[index]),
                "point_coords": [self.points[index].tolist()],
                "stability_score": float(self.stability[index]),
                "crop_box": (self.crops[index] @ as_width_and_height).tolist(),
            }
            for index, (rle, box) in enumerate(zip(self.rles(), boxes, strict=True))
        ]


def _surroundings(rle: Rle, max_hole_area: float) -> tuple[int, int, int, int]:
    """The box around a mask with so much background that what lies around the mask is no hole."""
    height, width = rle["size"]
    left, top, right, bottom = rle_to_box(rle)
    margin = int(min(max(max_hole_area, 0), max(height, width))) + 1
    return (
        max(left - margin, 0),
        max(top - margin, 0),
        min(right + 1 + margin, width),
        min(bottom + 1 + margin, height),
    )


_ARRAYS = [field.name for field in fields(MaskTable) if field.name not in ("size", "run_lengths")]


def as_lists(rle: Rle) -> Rle:
    """An RLE whose counts are a list of ints."""
    return {"size": rle["size"], "counts": rle["counts"].tolist()}


_SEGMENTATIONS: dict[str, Callable[[Rle, float], Any]] = {
    "binary_mask": lambda rle, _: rle_to_array(rle),
    "uncompressed_rle": lambda rle, _: as_lists(rle),
    "coco_rle": lambda rle, _: compress_rle(rle),
    "run_lengths": lambda rle, _: rle,
    "polygons": lambda rle, tolerance: rle_to_polygons(rle, tolerance),
}
OUTPUT_MODES = tuple(_SEGMENTATIONS)
NMS_KINDS = ("box", "mask")
