"""Masks that were found on an image, compressed: how they are kept, compared, cleaned and handed out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from ..masks.boxes import is_near_crop_edge, nms
from ..masks.connected_components import fill_holes, remove_sprinkles
from ..masks.polygons import mask_to_polygons
from ..masks.rle import Rle, compress_rle, mask_run_lengths, rle_area, rle_to_box, rle_to_mask
from ..masks.rle_overlap import mask_nms


@dataclass(frozen=True)
class MaskTable:
    """N masks of one image, each a run-length code with what is known about it. All tensors are on the CPU.

    A mask of two million pixels takes some ten thousand bytes here, so what is kept for an image does not grow with
    the number of its pixels, nor with the number of prompts that led to nothing.
    """

    size: tuple[int, int]  # (height, width) of the image
    run_lengths: list[np.ndarray]  # N, see rle.mask_run_lengths
    scores: torch.Tensor  # (N,) float32, the IoU that the model predicts
    stability: torch.Tensor  # (N,) float32, see stability.stability_score
    points: torch.Tensor  # (N, 2) float32, the point that led to the mask, as (x, y) in pixels of the image
    crops: torch.Tensor  # (N, 4) int64, the crop that it was found on: left, top, right, bottom (exclusive)

    def __len__(self) -> int:
        return len(self.run_lengths)

    @classmethod
    def none(cls, size: tuple[int, int]) -> MaskTable:
        """No masks."""
        none = torch.zeros(0, device="cpu", dtype=torch.float32)
        return cls(size, [], none, none, none.view(0, 2), none.view(0, 4).long())

    def cat(self, others: Sequence[MaskTable]) -> MaskTable:
        """These masks, then those of `others`, which are of the same image."""
        tables = [self, *others]
        return MaskTable(
            self.size,
            [counts for table in tables for counts in table.run_lengths],
            *(torch.cat([getattr(table, name) for table in tables]) for name in _TENSORS),
        )

    def select(self, indices: torch.Tensor) -> MaskTable:
        """The masks at `indices` (K,), in that order."""
        return MaskTable(
            self.size,
            [self.run_lengths[index] for index in indices.tolist()],
            *(getattr(self, name)[indices] for name in _TENSORS),
        )

    def boxes(self) -> torch.Tensor:
        """(N, 4) int64: left, top, right, bottom in pixels of the image, inclusive."""
        return torch.tensor([rle_to_box(rle) for rle in self.rles()], dtype=torch.int64, device="cpu").view(-1, 4)

    def rles(self) -> list[Rle]:
        """The masks as RLE with counts as arrays."""
        return [{"size": list(self.size), "counts": counts} for counts in self.run_lengths]

    def without_empty(self) -> MaskTable:
        return self.select(
            torch.tensor(
                [i for i, counts in enumerate(self.run_lengths) if len(counts) > 1], dtype=torch.int64, device="cpu"
            )
        )

    def without_cut_off(self, tolerance: int = 20) -> MaskTable:
        """Without those that come within `tolerance` pixels of their crop's edge where that is not the image's.

        Their object probably goes on outside of the crop.
        """
        return self.select((~is_near_crop_edge(self.boxes(), self.crops, self.size, tolerance)).nonzero().squeeze(1))

    def without_duplicates(
        self, iou_threshold: float, scores: torch.Tensor | None = None, by: str = "box"
    ) -> MaskTable:
        """Non-maximum suppression.

        Args:
            iou_threshold: of two masks with an IoU above it, the better one stays.
            scores: (N,), which of two is better; the predicted IoU by default.
            by: "box" for the IoU of boxes, "mask" for that of the masks themselves.
        """
        return self.select(self._suppress(self.scores if scores is None else scores, iou_threshold, by))

    def _suppress(self, scores: torch.Tensor, iou_threshold: float, by: str) -> torch.Tensor:
        boxes = self.boxes()
        if by == "mask":
            return mask_nms(self.run_lengths, boxes, scores, iou_threshold)
        return nms(boxes, scores, iou_threshold)

    def crop_areas(self) -> torch.Tensor:
        """(N,) pixels of the crop that each mask was found on."""
        return (self.crops[:, 2:] - self.crops[:, :2]).prod(dim=1)

    def cleaned(self, max_hole_area: float, max_sprinkle_area: float, keep_largest: bool = False) -> MaskTable:
        """With holes filled and islands removed of up to so many pixels; see `connected_components`."""
        if max_hole_area <= 0 and max_sprinkle_area <= 0:
            return self
        run_lengths = []
        for rle in self.rles():
            mask = fill_holes(rle_to_mask(rle), max_hole_area)
            mask = remove_sprinkles(mask, max_sprinkle_area, keep_largest=keep_largest)
            run_lengths += mask_run_lengths(mask[None])
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
        kept = table._suppress(torch.tensor(unchanged, dtype=torch.float32, device="cpu"), iou_threshold, by)
        return table.select(kept.sort().values)

    def records(self, output_mode: str, tolerance: float = 1.0) -> list[dict[str, Any]]:
        """One dict a mask, as the official generator returns them; see `Sam2MaskGenerationPipeline`.

        Args:
            output_mode: of the segmentations.
            tolerance: of polygons, in pixels.
        """
        boxes = self.boxes()
        as_width_and_height = torch.tensor([[1, 0, -1, 0], [0, 1, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]], device="cpu")
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


_TENSORS = [field.name for field in fields(MaskTable) if field.name not in ("size", "run_lengths")]


def as_lists(rle: Rle) -> Rle:
    """An RLE whose counts are a list of ints."""
    return {"size": rle["size"], "counts": rle["counts"].tolist()}


_SEGMENTATIONS: dict[str, Callable[[Rle, float], Any]] = {
    "binary_mask": lambda rle, _: rle_to_mask(rle).numpy(),
    "uncompressed_rle": lambda rle, _: as_lists(rle),
    "coco_rle": lambda rle, _: compress_rle(rle),
    "polygons": lambda rle, tolerance: mask_to_polygons(rle_to_mask(rle), tolerance),
}
OUTPUT_MODES = tuple(_SEGMENTATIONS)
NMS_KINDS = ("box", "mask")
