"""Pictures: everything in one segmented, and what one click selects."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..configuration_sam2 import Sam2Config
from ..image_processing_sam2 import Sam2ImageProcessor
from ..mask_generation import Sam2MaskGenerationPipeline
from ..modeling_sam2 import Sam2Model
from ..processing_sam2 import Sam2Processor
from ..visualize import draw_prompts, overlay_masks
from .weights import random_model

RANDOM_PRESET = "sam2.1-hiera-tiny"
RANDOM_CUTTING = {"mask_threshold": 2.0, "max_hole_area": 400, "max_sprinkle_area": 400}
RANDOM_CHOOSING = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
"""What a random model scores means nothing, so the filters are open. Its masks are cut out at a higher logit, where
they are smaller than half the picture, and cleaned of specks."""


@dataclass(frozen=True)
class Subject:
    """A model with its processor, and how masks are to be cut out and chosen.

    `cutting` are arguments that the pipeline and `post_process_masks` share, `choosing` those of the pipeline alone.
    """

    name: str
    model: Sam2Model
    processor: Sam2Processor
    is_random: bool = False
    cutting: dict[str, Any] = field(default_factory=dict)
    choosing: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """Masks (N, H, W) bool of a picture, what the model says about each of them, and how long it took."""

    masks: np.ndarray
    scores: list[float]
    seconds: float

    def rows(self) -> list[tuple[int, float, int, tuple[int, int, int, int] | None]]:
        """Number, predicted IoU, area in pixels and box (left, top, right, bottom) of each mask."""
        return [
            (number, score, int(mask.sum()), _box(mask))
            for number, (mask, score) in enumerate(zip(self.masks, self.scores, strict=True), start=1)
        ]


def load_subject(checkpoint: str | None) -> Subject:
    """The model to show: a checkpoint, or a full-size one with random weights."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if checkpoint is not None:
        model = Sam2Model.from_pretrained(checkpoint).to(device)
        return Subject(checkpoint, model, Sam2Processor.from_pretrained(checkpoint))
    model = random_model(Sam2Config.from_preset(RANDOM_PRESET)).to(device)
    return Subject(
        RANDOM_PRESET,
        model,
        Sam2Processor(Sam2ImageProcessor()),
        is_random=True,
        cutting=RANDOM_CUTTING,
        choosing=RANDOM_CHOOSING,
    )


def segment_everything(subject: Subject, image: Image.Image, points_per_side: int) -> Found:
    """All masks that a grid of clicks finds, by descending predicted IoU."""
    generator = Sam2MaskGenerationPipeline(model=subject.model, image_processor=subject.processor.image_processor)
    start = time.perf_counter()
    found = generator(image, points_per_crop=points_per_side, **subject.choosing, **subject.cutting)
    seconds = time.perf_counter() - start
    masks = np.zeros((0, image.height, image.width), dtype=bool)
    if len(found["masks"]):
        masks = np.stack([np.asarray(mask) for mask in found["masks"]])
    return Found(masks, found["scores"].tolist(), seconds)


def segment_click(subject: Subject, image: Image.Image, point: tuple[int, int]) -> Found:
    """The three masks that the model offers for a click at `point` (x, y), by descending predicted IoU."""
    start = time.perf_counter()
    inputs = subject.processor(image, input_points=[[[list(point)]]], input_labels=[[[1]]], return_tensors="pt")
    with torch.inference_mode():
        outputs = subject.model(**inputs.to(subject.model.device))
    (masks,) = subject.processor.post_process_masks(
        outputs.pred_masks.cpu(), inputs["original_sizes"], **subject.cutting
    )
    seconds = time.perf_counter() - start
    order = outputs.iou_scores[0, 0].argsort(descending=True).cpu()
    return Found(masks[0][order].numpy(), outputs.iou_scores[0, 0].cpu()[order].tolist(), seconds)


def save_everything(found: Found, image: Image.Image, path: Path) -> None:
    """Writes the picture with every mask in a colour of its own."""
    overlay_masks(image, found.masks).save(path)


def save_click(found: Found, image: Image.Image, point: tuple[int, int], path: Path) -> None:
    """Writes the picture with the best mask of the click, and the click."""
    draw_prompts(overlay_masks(image, found.masks[:1]), [point]).save(path)


def _box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    if not mask.any():
        return None
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
