"""Candidates for new objects on a frame that is encoded already, and what finds them.

Axes: M candidates, (h, w) the size of low-resolution masks, a quarter of the model's input.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..arrays import to_numpy
from ..mask_generation.crops import Crop
from ..mask_generation.generator import find_masks
from ..mask_generation.search import join_crops
from ..mask_generation.settings import MaskGenerationSettings
from ..masks.rle import Rle, rle_to_mask
from ..network.features import FrameFeatures
from ..sizes import Size


@dataclass(frozen=True)
class SearchedFrame:
    """A frame that is searched.

    Attributes:
        index: its number.
        pixels: (3, height, width) uint8.
        features: as the model sees it.
        free: (h, w) bool, where no object is tracked.
    """

    index: int
    pixels: Tensor
    features: FrameFeatures
    free: Tensor

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True)
class Candidates:
    """Masks that may be new objects.

    Attributes:
        rles: M run lengths of the frame's size.
        masks: (M, h, w) bool, the same at low resolution.
        scores: M, which of two is better.
        labels: M, what each is; None where nothing says.
        facts: M, what else is known, for the results.
    """

    rles: list[Rle]
    masks: Tensor
    scores: list[float]
    labels: list[str | None]
    facts: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rles)


class Finder(Protocol):
    """What finds candidates on a frame."""

    def find(self, frame: SearchedFrame) -> Candidates:
        """Find candidates.

        Args:
            frame: the frame; what is found where it is not free is dropped for the most part.
        """
        ...


class GridFinder:
    """Mask generation on the features that tracking has computed, with points where no object is tracked.

    Args:
        model: a `Sam2VideoModel`.
        settings: of mask generation, without crops, which would have to be encoded for themselves.

    Raises:
        ValueError: crops are asked for.
    """

    def __init__(self, model: Any, settings: MaskGenerationSettings):
        if settings.crops_n_layers:
            raise ValueError(f"crops_n_layers must be 0 in clips, got {settings.crops_n_layers}")
        self.model = model
        self.settings = settings

    @torch.inference_mode()
    def find(self, frame: SearchedFrame) -> Candidates:
        """Find masks by the points of the grid that are free; see `Finder.find`."""
        height, width = frame.size
        low_size = (frame.free.shape[0], frame.free.shape[1])
        points = self.settings.grid(0)
        cells = (points * np.array([low_size[1], low_size[0]], np.float32)).astype(np.int64)
        points = points[to_numpy(frame.free)[cells[:, 1], cells[:, 0]]]
        if not len(points):
            return no_candidates(frame.free)
        model, settings = self.model, replace(self.settings, point_grids=[points])
        embeddings = model.add_no_memory([*frame.features.fine, frame.features.coarsest])
        input_size = model.config.vision_config.input_size
        crop = Crop(0, 0, width, height, 0)
        table = join_crops([find_masks(model, embeddings, input_size, crop, frame.size, settings)], settings)
        rles = table.rles()
        stability = [{"stability_score": round(value, 4)} for value in table.stability.tolist()]
        masks = low_resolution(rles, frame.free)
        return Candidates(rles, masks, table.scores.tolist(), [None] * len(rles), stability)


def no_candidates(free: Tensor) -> Candidates:
    """Make a list of none; `free` (h, w) has the size of the masks."""
    return Candidates([], free.new_zeros((0, *free.shape)), [], [])


def low_resolution(rles: list[Rle], like: Tensor) -> Tensor:
    """Bring masks to the size (h, w) and the device of a low-resolution mask: (M, h, w) bool."""
    size = (like.shape[0], like.shape[1])
    masks = like.new_zeros((len(rles), *size))
    for row, rle in enumerate(rles):
        masks[row] = resized(rle_to_mask(rle).to(like.device), size)
    return masks


def resized(mask: Tensor, size: Size) -> Tensor:
    """Bring a mask (height, width) bool to another size; a pixel that is covered by half belongs to it."""
    if tuple(mask.shape) == tuple(size):
        return mask
    return F.interpolate(mask[None, None].float(), size=size, mode="bilinear", antialias=True)[0, 0] >= 0.5
