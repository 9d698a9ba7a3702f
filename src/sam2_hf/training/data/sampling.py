"""From videos to training examples: a few frames, a few objects, at times backwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from .videos import AnnotatedVideo, Clip

Augmentation = Callable[[Clip, np.random.Generator], Clip]

# So often is another place tried where no object is in the first frame, and another video after that.
_ATTEMPTS = 5


@dataclass(frozen=True)
class ClipSampling:
    """Which clips are cut out of videos.

    Attributes:
        num_frames: of a clip; of a video that is shorter, as many as it has.
        max_objects: of a clip, drawn from those that are seen in its first frame.
        strides: by how many annotated frames the frames of a clip may be apart; one is drawn for each clip.
        reverse: probability that time runs backwards.
    """

    num_frames: int = 8
    max_objects: int = 3
    strides: tuple[int, ...] = (1,)
    reverse: float = 0.5

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.max_objects < 1:
            raise ValueError(
                f"num_frames and max_objects must be at least 1, got {self.num_frames} and {self.max_objects}"
            )
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"strides must be one or more numbers from 1, got {self.strides}")
        if not 0 <= self.reverse <= 1:
            raise ValueError(f"reverse must be a probability, got {self.reverse}")

    def frames(self, video: AnnotatedVideo, rng: np.random.Generator) -> list[int]:
        """Draws the frames of a clip. A stride that does not fit the video is made smaller."""
        annotated = video.annotated
        count = min(self.num_frames, len(annotated))
        stride = int(rng.choice(self.strides))
        if count > 1:
            stride = min(stride, (len(annotated) - 1) // (count - 1))
        start = int(rng.integers(len(annotated) - (count - 1) * stride))
        frames = [annotated[start + step * stride] for step in range(count)]
        return frames[::-1] if rng.random() < self.reverse else frames

    def objects(self, clip: Clip, rng: np.random.Generator) -> list[int]:
        """Draws rows of objects that are seen in the first frame."""
        seen = np.flatnonzero(clip.masks[0].any(axis=(1, 2)))
        return sorted(rng.permutation(seen)[: self.max_objects].tolist())


class ClipDataset(Dataset[Clip]):
    """Random clips of annotated videos, one for each video and epoch.

    Args:
        videos: any sequence of them, such as those of this package.
        sampling: which clips.
        augmentation: what is done to each clip, with a generator to draw from.
        seed: with it, entry k is the same clip for ever, as evaluation wants it. Without, clips are drawn from torch's
            generator, which `DataLoader` and `Trainer` seed: new ones every epoch, the same if training is repeated.

    Where no object is in the first frame of a clip, another one is drawn, and after some attempts from another video.
    """

    def __init__(
        self,
        videos: Sequence[AnnotatedVideo],
        sampling: ClipSampling | None = None,
        augmentation: Augmentation | None = None,
        seed: int | None = None,
    ):
        if len(videos) == 0:
            raise ValueError("videos is empty: expected at least one to cut clips from")
        self.videos, self.sampling = videos, sampling or ClipSampling()
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self.videos):
            raise IndexError(f"index must lie in 0..{len(self.videos) - 1}, got {index}")
        drawn = int(torch.randint(2**62, (), device="cpu")) if self.seed is None else self.seed
        rng = np.random.default_rng([drawn, index])
        for _ in range(_ATTEMPTS):
            video = self.videos[index]
            for _ in range(_ATTEMPTS):
                clip = self._draw(video, rng)
                if clip is not None:
                    return clip
            index = int(rng.integers(len(self.videos)))
        raise ValueError(f"no objects were found in clips of {_ATTEMPTS} videos, the last of them {video.name}")

    def _draw(self, video: AnnotatedVideo, rng: np.random.Generator) -> Clip | None:
        """A clip, None if there is no object in its first frame."""
        clip = video.read(self.sampling.frames(video, rng))
        if self.augmentation is not None:
            clip = self.augmentation(clip, rng)
        rows = self.sampling.objects(clip, rng)
        return clip.with_objects(rows) if rows else None
