"""Clips and images in one training, in separate batches."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol

from torch.utils.data import Dataset

from .annotated_video import Clip


class _Clips(Sized, Protocol):
    def __getitem__(self, index: int, /) -> Clip: ...


class ClipsAndImages(Dataset[Any]):
    """Clips, some of which are replaced by several images: about the same work.

    A model that learns from clips alone loses some accuracy after clicks, and sees few different scenes.

    Args:
        clips: a `ClipDataset`.
        images: a `ClipDataset` of clips with one frame.
        together: so many images replace a clip.
        share: of the examples that are images.
        block: so many examples in a row are of one kind. Take the batch size on all devices together, and
            `train_sampling_strategy="sequential"` in the training arguments.

    Raises:
        ValueError: for settings out of range.
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
