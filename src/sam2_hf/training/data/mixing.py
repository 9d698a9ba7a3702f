"""Clips and pictures in one training, in batches of the one or of the other."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol

from torch.utils.data import Dataset

from .videos import Clip


class _Clips(Sized, Protocol):
    def __getitem__(self, index: int, /) -> Clip: ...


class ClipsAndPictures(Dataset[Any]):
    """Clips, and in their places at times as many pictures as a clip has frames: both are about the same work.

    A model that learns from clips alone forgets some of what it knew of clicks, and sees few different scenes.

    Args:
        clips, pictures: a `ClipDataset` each; the pictures are clips with one frame.
        together: so many pictures take the place of a clip.
        share: of the places that have pictures.
        block: so many places in a row are alike: those of a batch, on all devices, if they are taken in order
            ("train_sampling_strategy" of the training arguments: "sequential").
    """

    def __init__(self, clips: _Clips, pictures: _Clips, together: int, share: float = 0.5, block: int = 1):
        if together < 1 or block < 1:
            raise ValueError(f"together and block must be at least 1, got {together} and {block}")
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        self.clips, self.pictures = clips, pictures
        self.together, self.share, self.block = together, share, block

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip | list[Clip]:
        if not 0 <= index < len(self):
            raise IndexError(f"index must lie in 0..{len(self) - 1}, got {index}")
        block = index // self.block
        # Spread evenly: a block has pictures where the sum of the shares reaches the next whole number.
        if int((block + 1) * self.share) == int(block * self.share):
            return self.clips[index]
        return [self.pictures[(index * self.together + k) % len(self.pictures)] for k in range(self.together)]
