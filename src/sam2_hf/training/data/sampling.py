"""Sampling of clips from videos: some frames and some objects, at times in reverse."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from .annotated_video import AnnotatedVideo, Clip, reappears

Sought = Literal["reappearing", "appearing"]
Augmentation = Callable[[Clip, np.random.Generator], Clip]

# How often other frames are tried where no object is in the first one, and then other videos.
_ATTEMPTS = 5


@dataclass(frozen=True)
class ClipSampling:
    """How clips are sampled from videos.

    Attributes:
        num_frames: of a clip; of a video that is shorter, as many as it has.
        max_objects: of a clip, drawn from those that are visible in its first frame.
        strides: distances between the frames of a clip, in annotated frames; one is drawn for each clip.
        reverse: probability that the frames are reversed.
        reappearing: probability that a clip is searched for in which an object is hidden and later visible again; such
            objects are then chosen first. Most clips have none. For one such clip, up to twenty clips of four videos
            are read.
        appearing: likewise, probability that a clip is moved to where an object becomes visible, often by a few pixels,
            which then have to identify it.
    """

    num_frames: int = 8
    max_objects: int = 3
    strides: tuple[int, ...] = (1,)
    reverse: float = 0.5
    reappearing: float = 0.0
    appearing: float = 0.0

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.max_objects < 1:
            raise ValueError(
                f"num_frames and max_objects must be at least 1, got {self.num_frames} and {self.max_objects}"
            )
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"strides must be one or more numbers from 1, got {self.strides}")
        for name in ("reverse", "reappearing", "appearing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability, got {getattr(self, name)}")

    def frames(self, video: AnnotatedVideo, rng: np.random.Generator) -> list[int]:
        """Draw the frames of a clip. A stride that does not fit the video is reduced."""
        annotated = video.annotated
        count = min(self.num_frames, len(annotated))
        stride = int(rng.choice(self.strides))
        if count > 1:
            stride = min(stride, (len(annotated) - 1) // (count - 1))
        start = int(rng.integers(len(annotated) - (count - 1) * stride))
        frames = [annotated[start + step * stride] for step in range(count)]
        return frames[::-1] if rng.random() < self.reverse else frames

    def sought(self, rng: np.random.Generator) -> Sought | None:
        """Draw what a clip is searched for, None for any clip. A probability of 0 draws no random number."""
        if self.reappearing > 0 and rng.random() < self.reappearing:
            return "reappearing"
        if self.appearing > 0 and rng.random() < self.appearing:
            return "appearing"
        return None

    def objects(self, clip: Clip, rng: np.random.Generator, first: Collection[int] = ()) -> list[int]:
        """Draw rows of objects that are visible in the first frame, those in `first` before others."""
        seen = np.flatnonzero(clip.masks[0].any(axis=(1, 2)))
        order = sorted(rng.permutation(seen).tolist(), key=lambda row: row not in first)
        return sorted(order[: self.max_objects])


class ClipDataset(Dataset[Clip]):
    """Random clips of annotated videos. Clip k depends on k and the seed alone.

    Where no object is in the first frame of a clip, other frames are drawn, and after some attempts another video.

    Args:
        videos: any sequence of annotated videos.
        sampling: of the clips.
        augmentation: of each clip, with a generator to draw from.
        num_clips: number of different clips: the first of every video, then the second, and so on; by default one of
            each video. For clips that never repeat, take as many as the training needs.
        seed: of the clips.
        clips_per_video: so many clips in a row are of the same video, which is opened once for all of them. It helps
            where opening is slow and clips are taken in order: `train_sampling_strategy="sequential"` in the training
            arguments.

    Raises:
        ValueError: if there are no videos, or for a setting out of range.
    """

    def __init__(
        self,
        videos: Sequence[AnnotatedVideo],
        sampling: ClipSampling | None = None,
        augmentation: Augmentation | None = None,
        num_clips: int | None = None,
        seed: int = 0,
        clips_per_video: int = 1,
    ):
        if len(videos) == 0:
            raise ValueError("videos is empty: expected at least one to cut clips from")
        if clips_per_video < 1:
            raise ValueError(f"clips_per_video must be at least 1, got {clips_per_video}")
        self.videos, self.sampling, self.augmentation = videos, sampling or ClipSampling(), augmentation
        self.num_clips, self.seed = len(videos) if num_clips is None else num_clips, seed
        self.clips_per_video = clips_per_video
        self._opened: tuple[int, AnnotatedVideo] | None = None

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < self.num_clips:
            raise IndexError(f"index must lie in 0..{self.num_clips - 1}, got {index}")
        # A generator for each clip: it depends neither on the process that loads it nor on earlier clips.
        rng = np.random.default_rng([self.seed, index])
        number = index // self.clips_per_video % len(self.videos)
        sought = self.sampling.sought(rng)
        for attempt in range(_ATTEMPTS):
            video = self._open(number)
            for _ in range(_ATTEMPTS):
                clip = self._draw(video, rng, sought if attempt < _ATTEMPTS - 1 else None)
                if clip is not None:
                    return clip
            number = int(rng.integers(len(self.videos)))
        raise ValueError(f"no objects were found in clips of {_ATTEMPTS} videos, the last of them {video.name}")

    def _open(self, number: int) -> AnnotatedVideo:
        """Open a video; the latest one is kept."""
        if self._opened is None or self._opened[0] != number:
            self._opened = number, self.videos[number]
        return self._opened[1]

    def _draw(self, video: AnnotatedVideo, rng: np.random.Generator, sought: Sought | None) -> Clip | None:
        """Draw a clip; None if its first frame has no object, or the clip not what is sought."""
        frames = self.sampling.frames(video, rng)
        clip = video.read(frames)
        first: Sequence[Hashable] = ()
        if sought == "appearing":
            moved = move_to_appearance(clip, frames, video.annotated, rng)
            if moved is None:
                return None
            first, clip = [moved[0]], video.read(moved[1])
        if self.augmentation is not None:
            clip = self.augmentation(clip, rng)
        if sought == "reappearing":
            first = [clip.object_ids[row] for row in reappearing_objects(clip.masks)]
            if not first:
                return None
        rows = self.sampling.objects(clip, rng, [row for row, name in enumerate(clip.object_ids) if name in first])
        return clip.with_objects(rows) if rows else None


def reappearing_objects(masks: np.ndarray) -> list[int]:
    """Find the rows of masks (T, N, H, W) that are visible in the first frame, then hidden, and visible again later."""
    seen = np.asarray(masks.any(axis=(2, 3)))
    return np.flatnonzero(seen[0] & reappears(seen).any(axis=0)).tolist()


def move_to_appearance(
    clip: Clip, frames: Sequence[int], annotated: Sequence[int], rng: np.random.Generator
) -> tuple[Hashable, list[int]] | None:
    """Move a clip to where an object becomes visible.

    Args:
        clip: the clip.
        frames: its frames.
        annotated: the annotated frames of the whole video.
        rng: chooses among several objects.

    Returns:
        The object and as many frames, at the same distances, from there on; None if no object becomes visible, or the
        video ends before the clip.
    """
    seen = np.asarray(clip.masks.any(axis=(2, 3)))
    events = np.argwhere(seen[1:] & ~seen[:-1])
    if len(events) == 0:
        return None
    step, row = events[rng.integers(len(events))]
    first, second = (list(annotated).index(frame) for frame in frames[:2])
    moved = [first + (second - first) * (int(step) + 1 + index) for index in range(len(frames))]
    if not 0 <= moved[-1] < len(annotated):
        return None
    return clip.object_ids[row], [annotated[position] for position in moved]
