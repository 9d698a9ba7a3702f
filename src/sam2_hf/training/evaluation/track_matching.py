"""Metrics of tracks that nobody named: which of them are objects, how often they change their names, how good they are.

A track and an object are compared by the IoU over all frames of a clip (volume IoU), and paired one to one so that the
sum is largest. Identity switches are those of CLEAR MOT (Bernardin and Stiefelhagen, 2008): in each frame tracks and
objects are paired with an IoU of at least one half, and a switch is a frame in which an object's partner is another one
than before.

Axes: T frames, N objects, H and W in pixels. Masks are NumPy arrays of bool.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .metrics import contour_accuracy, region_similarity

LEAST_IOU = 0.5
LEAST_FRAMES = 3


@dataclass
class TrackScores:
    """Counts and sums over clips.

    Attributes:
        objects: objects that were visible in at least `LEAST_FRAMES` frames.
        tracks: tracks, those on the background included.
        matched: pairs of an object and a track with a volume IoU of at least one half.
        background: tracks of which more than half of the pixels belong to no object.
        switches: changes of name.
        both: J&F of each matched object, from its first visible frame on.
    """

    objects: int = 0
    tracks: int = 0
    matched: int = 0
    background: int = 0
    switches: int = 0
    both: list[float] = field(default_factory=list)

    def add(self, masks: np.ndarray, tracks: Mapping[Hashable, Mapping[int, np.ndarray]]) -> None:
        """Add a clip.

        Args:
            masks: (T, N, H, W), the true masks.
            tracks: by name, the mask (H, W) in each frame in which it is not empty.
        """
        visible = masks.any(axis=(2, 3)).sum(axis=0)
        counted = masks[:, visible >= LEAST_FRAMES]
        names = list(tracks)
        volumes, background = _volumes(masks, counted, [tracks[name] for name in names])
        pairs = _best_pairs(volumes, LEAST_IOU)
        self.objects += counted.shape[1]
        self.tracks += len(names)
        self.matched += len(pairs)
        self.background += int((background > 0.5).sum())
        self.switches += _switches(counted, tracks)
        self.both += [_both(counted[:, row], tracks[names[column]]) for row, column in pairs]

    def summary(self) -> dict[str, float]:
        """Average.

        Returns:
            "recall", the share of objects that were matched; "precision", the share of tracks that were; "precision on
            objects", the same without tracks of the background; "switches" an object; "J&F matched" of the matched
            objects, and "J&F", which counts the others as 0.
        """
        return {
            "recall": self.matched / max(self.objects, 1),
            "precision": self.matched / max(self.tracks, 1),
            "precision on objects": self.matched / max(self.tracks - self.background, 1),
            "switches": self.switches / max(self.objects, 1),
            "J&F matched": float(np.mean(self.both)) if self.both else 0.0,
            "J&F": float(np.sum(self.both)) / max(self.objects, 1),
        }


def _volumes(
    masks: np.ndarray, counted: np.ndarray, tracks: list[Mapping[int, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """The volume IoU of objects and tracks, (objects, tracks), and the share of each track on the background."""
    areas = counted.sum((0, 2, 3))
    ious, background = np.zeros((counted.shape[1], len(tracks))), np.zeros(len(tracks))
    objects = np.asarray(masks.any(axis=1))
    for column, track in enumerate(tracks):
        area = sum(int(mask.sum()) for mask in track.values())
        common = np.zeros(counted.shape[1])
        outside = 0
        for frame, mask in track.items():
            common += np.count_nonzero(counted[frame] & mask, axis=(1, 2))
            outside += np.count_nonzero(mask & ~objects[frame])
        ious[:, column] = common / np.maximum(areas + area - common, 1)
        background[column] = outside / max(area, 1)
    return ious, background


def _best_pairs(ious: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Pair rows and columns one to one so that the sum is largest; pairs below `least` are left out."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.where(ious >= least, ious, 0), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if ious[row, column] >= least]


def _switches(masks: np.ndarray, tracks: Mapping[Hashable, Mapping[int, np.ndarray]]) -> int:
    partners: dict[int, Hashable] = {}
    switches = 0
    for frame, truth in enumerate(masks):
        present = [(name, track[frame]) for name, track in tracks.items() if frame in track]
        ious = np.array([[region_similarity(mask, item) for _, mask in present] for item in truth])
        visible = truth.any((1, 2))
        for row, column in _best_pairs(ious.reshape(len(truth), len(present)), LEAST_IOU):
            if visible[row]:
                switches += row in partners and partners[row] != present[column][0]
                partners[row] = present[column][0]
    return switches


def _both(truth: np.ndarray, track: Mapping[int, np.ndarray]) -> float:
    """J&F of one object (T, H, W), from the first frame that shows it."""
    first = int(truth.any((1, 2)).argmax())
    empty = np.zeros(truth.shape[1:], bool)
    scores = [
        (region_similarity(track.get(frame, empty), mask) + contour_accuracy(track.get(frame, empty), mask)) / 2
        for frame, mask in enumerate(truth)
        if frame >= first
    ]
    return float(np.mean(scores))


def tracks_of(
    frames: Iterable[tuple[int, Iterable[tuple[Hashable, np.ndarray]]]],
) -> dict[Hashable, dict[int, np.ndarray]]:
    """Sort masks by name: frames with their objects to {name: {frame: mask}}; empty masks are left out."""
    tracks: dict[Hashable, dict[int, np.ndarray]] = {}
    for frame, objects in frames:
        for name, mask in objects:
            if mask.any():
                tracks.setdefault(name, {})[frame] = mask
    return tracks
