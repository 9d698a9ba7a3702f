"""One clip tracked by torch and by the runtime, in the same way: four objects, an occlusion, a correction."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from sam2_hf.training.synthetic.world import SyntheticVideos

CORRECTED = 21
Masks = dict[int, dict[Hashable, np.ndarray]]


def draw_clip(length: int, size: tuple[int, int], number: int = 0) -> tuple[np.ndarray, dict[Hashable, Any], list]:
    """Frames of a world with at least four objects, a click or a box on each, and where a correction clicks.

    A grey bar hides the first object for a quarter of the clip.
    """
    videos = SyntheticVideos(number + 1, split="test", size=size, length=length, objects=(4, 6))
    clip = videos[number].read(range(length))
    frames, masks = np.array(clip.frames), np.asarray(clip.masks)
    first = masks[0].reshape(masks.shape[1], -1).sum(1).argsort()[::-1][:4]
    prompts: dict[Hashable, Any] = {}
    for position, index in enumerate(first):
        rows, columns = np.nonzero(masks[0][index])
        if position % 2:
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            prompts[f"object {position}"] = {"frame": 0, "box": box}
        else:
            middle = len(rows) // 2
            prompts[f"object {position}"] = {"frame": 0, "points": [(int(columns[middle]), int(rows[middle]))]}
    frame = min(CORRECTED, length - 2)
    rows, columns = (
        np.nonzero(masks[frame][first[1]]) if masks[frame][first[1]].any() else np.nonzero(masks[0][first[1]])
    )
    correction = (int(columns[len(rows) // 2]), int(rows[len(rows) // 2]))
    for hidden in range(length // 4, length // 2):
        rows, columns = np.nonzero(masks[hidden][first[0]])
        if len(rows):
            frames[hidden][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 127
    return frames, prompts, [frame, correction]


def track_and_correct(
    tracker: Any, frames: np.ndarray, prompts: Any, correction: list
) -> dict[int, dict[Hashable, Any]]:
    """Masks of all objects in all frames, after one correction of the second object."""
    tracks = tracker.track(list(frames), prompts)
    tracks.correct("object 1", correction[0], points=[correction[1]], labels=[1])
    return {frame: {item.name: item.mask for item in tracks[frame].objects} for frame in tracks.frames}


def worst_iou(ours: Masks, theirs: Masks) -> tuple[float, int]:
    """The least IoU of any object in any frame, and how many masks are not empty."""
    assert ours.keys() == theirs.keys()
    worst, visible = 1.0, 0
    for frame, masks in ours.items():
        assert masks.keys() == theirs[frame].keys()
        for name, mask in masks.items():
            other = theirs[frame][name]
            union = int((mask | other).sum())
            visible += union > 0
            if union:
                worst = min(worst, int((mask & other).sum()) / union)
    return worst, visible
