"""Images: everything segmented, and the objects that are clicked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..hub.bundled import bundled_checkpoint
from ..mask_generation.pipeline import Sam2MaskGenerationPipeline
from ..masks.drawing import draw_prompts, overlay_masks
from ..modeling_sam2 import Sam2Model
from ..processing_sam2 import Sam2Processor

Point = tuple[int, int]

# The bundled checkpoint predicts lower scores for its good masks than Meta's models, for which the pipeline's defaults
# are chosen.
BUNDLED_THRESHOLDS = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.7}


@dataclass(frozen=True)
class Subject:
    """An image model with its processor and its name."""

    name: str
    model: Sam2Model
    processor: Sam2Processor


@dataclass(frozen=True)
class Found:
    """Masks of an image.

    Args:
        masks: (N, H, W) bool.
        scores: predicted IoU of each mask.
        seconds: the time that it took to find them.
    """

    masks: np.ndarray
    scores: list[float]
    seconds: float

    def rows(self) -> list[tuple[int, float, int, tuple[int, int, int, int] | None]]:
        """Number, predicted IoU, area in pixels and box (left, top, right, bottom) of each mask."""
        return [
            (number, score, int(mask.sum()), _box(mask))
            for number, (mask, score) in enumerate(zip(self.masks, self.scores, strict=True), start=1)
        ]


def load_subject(checkpoint: str) -> Subject:
    """Load an image checkpoint, a folder or a name on the Hub, on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Sam2Model.from_pretrained(checkpoint).to(device).eval()
    return Subject(checkpoint, model, Sam2Processor.from_pretrained(checkpoint))


def segment_everything(subject: Subject, image: Image.Image, points_per_side: int) -> Found:
    """Segment everything with a grid of clicks. The masks are in descending order of predicted IoU."""
    generator = Sam2MaskGenerationPipeline(model=subject.model, image_processor=subject.processor.image_processor)
    start = time.perf_counter()
    thresholds = BUNDLED_THRESHOLDS if subject.name == bundled_checkpoint() else {}
    found = generator(image, points_per_crop=points_per_side, **thresholds)
    seconds = time.perf_counter() - start
    masks = np.zeros((0, image.height, image.width), dtype=bool)
    if len(found["masks"]):
        masks = np.stack([np.asarray(mask) for mask in found["masks"]])
    return Found(masks, found["scores"].tolist(), seconds)


def segment_clicks(subject: Subject, image: Image.Image, points: Sequence[Point]) -> Found:
    """Segment an object for each click (x, y) in pixels, with the best of the three candidate masks."""
    start = time.perf_counter()
    clicks, labels = [[[list(point)] for point in points]], [[[1] for _ in points]]
    inputs = subject.processor(image, input_points=clicks, input_labels=labels, return_tensors="pt")
    with torch.inference_mode():
        outputs = subject.model(**inputs.to(subject.model.device))
    scores, best = outputs.iou_scores[0].max(dim=-1)
    chosen = outputs.pred_masks.take_along_dim(best[None, :, None, None, None], dim=2)
    (masks,) = subject.processor.post_process_masks(chosen.cpu(), inputs["original_sizes"])
    return Found(masks[:, 0].numpy(), scores.tolist(), time.perf_counter() - start)


def save_everything(found: Found, image: Image.Image, path: Path) -> None:
    """Write the image with every mask in its own colour."""
    overlay_masks(image, found.masks).save(path)


def save_clicks(found: Found, image: Image.Image, points: Sequence[Point], path: Path) -> None:
    """Write the image with the mask of every click, and the clicks."""
    draw_prompts(overlay_masks(image, found.masks), points).save(path)


def _box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    if not mask.any():
        return None
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
