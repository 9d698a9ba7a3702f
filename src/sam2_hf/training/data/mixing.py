"""Clips and images in one training, in batches of the one or of the other."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol

from torch.utils.data import Dataset

from .annotated_video import Clip


class _Clips(Sized, Protocol):
    def __getitem__(self, index: int, /) -> Clip: ...


class ClipsAndImages(Dataset[Any]):
    """Clips, and in their places at times as many images as a clip has frames: both are about the same work.

    A model that learns from clips alone forgets some of what it knew of clicks, and sees few different scenes.

    Args:
        clips, images: a `ClipDataset` each; the images are clips with one frame.
        together: so many images take the place of a clip.
        share: of the places that have images.
        block: so many places in a row are alike: those of a batch, on all devices, if they are taken in order
            ("train_sampling_strategy" of the training arguments: "sequential").
    """

    def __init__(self, clips: _Clips, images: _Clips, together: int, share: float = 0.5, block: int = 1):
        if together < 1 or block < 1:
            raise ValueError(f"together and block must be at least 1, got {together} and {block}")
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        self.clips, self.images = clips, images
        self.together, self.share, self.block = together, share, block

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip | list[Clip]:
        if not 0 <= index < len(self):
            raise IndexError(f"index must lie in 0..{len(self) - 1}, got {index}")
        block = index // self.block
        # Spread evenly: a block has images where the sum of the shares reaches the next whole number.
        if int((block + 1) * self.share) == int(block * self.share):
            return self.clips[index]
        return [self.images[(index * self.together + k) % len(self.images)] for k in range(self.together)]
