"""What weights of fewer bits cost in tracking: IoU of an exported folder's masks with those of its float32 graphs.

    sam2 export bundled graphs --dtype fp32,fp16,int8
    python -m benchmarks.export_tracking graphs --clips 3 --frames 10

Clips of the synthetic world's test split with their first masks given, as in semi-supervised benchmarks. Beside the IoU
with float32 stands the IoU with the true masks, of objects that are visible; the first frame is not counted. Graphs run
on the CPU with one thread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np

from sam2_hf.runtime import Tracker
from sam2_hf.runtime.exported_folder import ExportedFolder
from sam2_hf.training.synthetic.world import SyntheticVideos


def main() -> None:
    """Track with every dtype of a folder, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--frames", type=int, default=10)
    arguments = parser.parse_args()
    videos = SyntheticVideos(arguments.clips, split="test", size=(256, 256), length=arguments.frames, objects=(2, 4))
    clips = [_read(videos[index], arguments.frames) for index in range(arguments.clips)]
    exact: list[np.ndarray] = []
    for dtype in sorted(ExportedFolder(arguments.folder).files, key="fp32".__ne__):
        tracker = Tracker(arguments.folder, dtype=dtype, threads=1)
        found = [_track(tracker, frames, masks[0]) for frames, masks in clips]
        exact = exact or found
        true = [masks[1:] for _, masks in clips]
        near = np.concatenate([_overlap(one, other) for one, other in zip(found, exact, strict=True)])
        right = np.concatenate([_overlap(one, other)[_seen(other)] for one, other in zip(found, true, strict=True)])
        sys.stdout.write(
            f"{dtype}: {len(near)} masks, IoU with float32 mean {near.mean():.4f} least {near.min():.4f}, "
            f"with the truth {right.mean():.4f}\n"
        )
        sys.stdout.flush()


def _read(video: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3), and masks (T, N, H, W) of the objects that the first frame shows."""
    clip = video.read(range(length))
    masks = np.asarray(clip.masks) > 0
    return np.asarray(clip.frames), masks[:, masks[0].any((1, 2))]


def _track(tracker: Tracker, frames: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Masks (T - 1, N, H, W) of all frames after the first, whose masks are given."""
    prompts: dict[Hashable, Any] = {str(index): {"frame": 0, "mask": mask} for index, mask in enumerate(first)}
    tracks = tracker.track(list(frames), prompts)
    named = ({item.name: item.mask for item in tracks[frame].objects} for frame in range(1, len(frames)))
    return np.array([[each[name] for name in prompts] for each in named])


def _overlap(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The IoU of every mask, flat; 1 where both are empty."""
    together, either = (found & wanted).sum((-2, -1)), (found | wanted).sum((-2, -1))
    return np.where(either > 0, together / np.maximum(either, 1), 1.0).ravel()


def _seen(masks: np.ndarray) -> np.ndarray:
    return masks.any((-2, -1)).ravel()


if __name__ == "__main__":
    main()
