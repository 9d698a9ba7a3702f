"""Candidates from a detector's boxes, segmented on the features that tracking has computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from ..everything.candidates import Candidates, SearchedFrame, low_resolution, no_candidates
from ..results.records import encode_masks
from .detections import Detection, read_detections

Detector = Callable[..., Any]
_AT_ONCE = 16  # masks of the frame's size in logits


class BoxFinder:
    """Asks a detector for the objects of a frame, and segments its boxes.

    Args:
        model: a `Sam2VideoModel`.
        processor: of the model.
        detector: called as `detector(image, candidate_labels=labels)`, or `detector(image)` without labels; returns
            what `read_detections` reads.
        labels: what to look for.
        least_score: of detections that count.
    """

    def __init__(
        self, model: Any, processor: Any, detector: Detector, labels: Sequence[str] | None, least_score: float
    ):
        self.model, self.processor = model, processor
        self.detector, self.labels, self.least_score = detector, labels, least_score

    @torch.inference_mode()
    def find(self, frame: SearchedFrame) -> Candidates:
        """Find masks of the detector's boxes; see `Finder.find`."""
        image = Image.fromarray(frame.pixels.permute(1, 2, 0).cpu().numpy())
        detections = detect(self.detector, image, self.labels, self.least_score)
        if not detections:
            return no_candidates(frame.free)
        boxes = [list(detection.box) for detection in detections]
        given = self.processor(input_boxes=[boxes], original_sizes=[list(frame.size)], return_tensors="pt")
        model = self.model
        embeddings = model.add_no_memory([*frame.features.fine, frame.features.coarsest])
        decoded = model.decode_prompts(embeddings, input_boxes=given["input_boxes"].to(model.device))
        logits, ious = model.mask_decoder.single_mask(decoded, embeddings)
        rles = []
        for few in logits[0].split(_AT_ONCE):
            (masks,) = self.processor.post_process_masks([few], [list(frame.size)])
            rles += encode_masks(masks[:, 0])
        facts = [
            {"detection_score": round(detection.score, 4), "predicted_iou": round(iou, 4)}
            for detection, iou in zip(detections, ious[0, :, 0].tolist(), strict=True)
        ]
        scores, names = [item.score for item in detections], [item.label for item in detections]
        return Candidates(rles, low_resolution(rles, frame.free), scores, [*names], facts)


def detect(detector: Detector, image: Image.Image, labels: Sequence[str] | None, least_score: float) -> list[Detection]:
    """Ask a detector for the objects of an image.

    Raises:
        TypeError, ValueError: it returns what cannot be read as detections.
    """
    found = detector(image) if labels is None else detector(image, candidate_labels=list(labels))
    return read_detections(found, (image.height, image.width), least_score)
