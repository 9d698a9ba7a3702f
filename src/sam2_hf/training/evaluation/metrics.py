"""Metrics of masks: region similarity J and contour accuracy F, as DAVIS and SA-V measure them.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation" (CVPR 2016), and
the public evaluation code of DAVIS and SA-V for what the paper leaves open: the pixels of a contour, and the distance
that two contours may have. The separate measure of objects that reappear follows Ding et al., "MOSEv2" (arXiv
2508.05630).

Axes: T frames, N objects, H and W in pixels. Masks are NumPy arrays of bool.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..data.annotated_video import reappears

# Largest distance at which contours count as equal, as a share of the image's diagonal.
CONTOUR_TOLERANCE = 0.008


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Compute J, the IoU of two masks (H, W), from 0 to 1; 1 for two empty masks."""
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def contour_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Compute F, the harmonic mean of precision and recall of the contour of a mask.

    Args:
        predicted: mask (H, W).
        truth: mask (H, W).

    Returns:
        F from 0 to 1: 1 for two empty masks, 0 for an empty mask and another one.
    """
    found, wanted = contour(predicted), contour(truth)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    radius = math.ceil(CONTOUR_TOLERANCE * math.hypot(*truth.shape))
    precision = np.count_nonzero(found & dilate(wanted, radius)) / np.count_nonzero(found)
    recall = np.count_nonzero(wanted & dilate(found, radius)) / np.count_nonzero(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """Find the contour of a mask (H, W), one pixel wide.

    Its pixels differ from their neighbour to the right, below, or both. Beyond its last row and column, the mask is
    repeated.
    """
    onwards = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, both = onwards[:-1, 1:], onwards[1:, :-1], onwards[1:, 1:]
    return (mask != right) | (mask != below) | (mask != both)


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate a mask (H, W) by a disc of `radius` pixels.

    A disc is a stack of rows of different lengths, and dilation by a row is a difference of cumulative sums.
    """
    height, width = mask.shape
    counts = np.cumsum(np.pad(mask, ((0, 0), (radius + 1, radius))), axis=1)
    result = np.zeros_like(mask)
    for offset in range(-radius, radius + 1):
        reach = math.isqrt(radius * radius - offset * offset)
        last = counts[:, radius + 1 + reach : radius + 1 + reach + width]
        first = counts[:, radius - reach : radius - reach + width]
        rows = last > first
        top, bottom = max(offset, 0), min(height + offset, height)
        if top < bottom:
            result[top:bottom] |= rows[top - offset : bottom - offset]
    return result


@dataclass(frozen=True)
class ObjectScore:
    """Scores of one tracked object, averaged over the frames that count.

    Attributes:
        video: its name.
        object_id: in the video, as text.
        region: J.
        contour: F.
        visibility: share of these frames in which the object is rightly judged visible or not.
        both_reappearing: J&F of the frames in which the object is visible again after it was hidden; None without such.
    """

    video: str
    object_id: str
    region: float
    contour: float
    visibility: float
    both_reappearing: float | None = None

    @property
    def both(self) -> float:
        """J&F, the mean of J and F."""
        return (self.region + self.contour) / 2


@dataclass
class ObjectFrames:
    """Scores of one object of a video, frame by frame."""

    regions: list[float] = field(default_factory=list)
    contours: list[float] = field(default_factory=list)
    visibility: list[bool] = field(default_factory=list)
    seen: list[bool] = field(default_factory=list)

    def add(self, predicted: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None = None) -> None:
        """Add the next frame, masks (H, W); where `ignored`, the prediction counts as right."""
        if ignored is not None:
            predicted = np.where(ignored, truth, predicted)
        self.regions.append(region_similarity(predicted, truth))
        self.contours.append(contour_accuracy(predicted, truth))
        self.visibility.append(bool(predicted.any() == truth.any()))
        self.seen.append(bool(truth.any()))

    def score(self, video: str, object_id: object) -> ObjectScore:
        """Average the frames so far."""
        regions, contours, again = np.array(self.regions), np.array(self.contours), reappears(np.array(self.seen))
        return ObjectScore(
            video,
            str(object_id),
            region=float(regions.mean()),
            contour=float(contours.mean()),
            visibility=float(np.mean(self.visibility)),
            both_reappearing=float((regions + contours)[again].mean() / 2) if again.any() else None,
        )


def summarise(scores: Iterable[ObjectScore]) -> dict[str, float]:
    """Average the scores of objects, each of which counts the same.

    Args:
        scores: of the objects.

    Returns:
        "J", "F", "J&F" and "visibility"; "J&F reappearing" is the mean over objects that reappear, and missing without.

    Raises:
        ValueError: without any object.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there is no object to average over")
    averages = {
        "J": float(np.mean([score.region for score in scores])),
        "F": float(np.mean([score.contour for score in scores])),
        "J&F": float(np.mean([score.both for score in scores])),
        "visibility": float(np.mean([score.visibility for score in scores])),
    }
    again = [score.both_reappearing for score in scores if score.both_reappearing is not None]
    return {**averages, "J&F reappearing": float(np.mean(again))} if again else averages
