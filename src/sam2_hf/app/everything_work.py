"""Everything in an image, computed once and filtered as often as one likes. It knows nothing of the browser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..masks.boxes import nms
from ..predictors.segmenter import Segmenter
from ..results.image_result import ImageResult

_BOX_NMS = 0.7  # as the generator has it


class EverythingWork:
    """All masks that a grid of points gives in an image, before any is dropped.

    Args:
        segmenter: the model.
        image: a PIL image or an array (height, width, 3) uint8.
        points_per_side: of the grid.
    """

    def __init__(self, segmenter: Segmenter, image: Any, points_per_side: int = 16):
        self._all: ImageResult = segmenter.segment_everything(
            image,
            points_per_crop=points_per_side,
            pred_iou_thresh=0.0,
            stability_score_thresh=0.0,
            crops_nms_thresh=1.0,
        )
        objects = self._all.objects
        self._scores = np.array([item.score for item in objects], np.float32)
        self._stability = np.array([item.extra["stability_score"] for item in objects], np.float32)
        self._areas = np.array([item.area for item in objects], np.int64)
        boxes = [[x0, y0, x1 - 1, y1 - 1] for x0, y0, x1, y1 in (item.box for item in objects)]
        self._boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self._all)

    def filtered(self, predicted_iou: float, stability: float, area: float = 0.0) -> ImageResult:
        """Choose the masks that are good enough, and drop duplicates among them. Computes no mask.

        Args:
            predicted_iou: masks above it stay.
            stability: masks of it and above stay.
            area: least share of the image, 0 to 1.

        Returns:
            The masks, numbered from 1 by descending predicted IoU: those that mask generation with these thresholds
            gives.
        """
        height, width = self._all.size
        good = (self._scores > predicted_iou) & (self._stability >= stability) & (self._areas >= area * height * width)
        chosen = np.flatnonzero(good)
        kept = nms(self._boxes[chosen], torch.from_numpy(self._scores[chosen]), _BOX_NMS).tolist()
        objects = [replace(self._all.objects[chosen[index]], name=number) for number, index in enumerate(kept, start=1)]
        return ImageResult(objects, lambda: np.asarray(self._all.image), self._all.size)
