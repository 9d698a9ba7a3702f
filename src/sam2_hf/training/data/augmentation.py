"""Augmentation of clips: flips, crops and colours.

Geometry changes in the same way in all frames, or objects would jump. Colours change for the whole clip, and a little
from frame to frame, as they do in cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .annotated_video import Clip
from .resizing import resize_clip
from .sampling import Augmentation

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma weights of red, green and blue


@dataclass(frozen=True)
class Compose:
    """Several augmentations in order."""

    steps: Sequence[Augmentation]

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        for step in self.steps:
            clip = step(clip, rng)
        return clip


@dataclass(frozen=True)
class Flip:
    """Horizontal flip."""

    probability: float = 0.5

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        if rng.random() >= self.probability:
            return clip
        ignored = None if clip.ignored is None else clip.ignored[..., ::-1]
        return Clip(clip.frames[:, :, ::-1], clip.masks[..., ::-1], clip.object_ids, ignored)


@dataclass(frozen=True)
class ResizedCrop:
    """Random crop, resized.

    A crop without an object in the first frame is drawn again; after some attempts, the whole frame is taken.

    Attributes:
        size: (height, width) of the result in pixels.
        area: range of the crop's share of the frame's area.
        aspect: range of factors of the frame's aspect ratio.
        attempts: how often a crop is drawn.
    """

    size: tuple[int, int]
    area: tuple[float, float] = (0.4, 1.0)
    aspect: tuple[float, float] = (0.8, 1.25)
    attempts: int = 5

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        for _ in range(self.attempts):
            part = self._cut(clip, rng)
            if part.masks[0].any() or not clip.masks[0].any():
                return resize_clip(part, self.size)
        return resize_clip(clip, self.size)

    def _cut(self, clip: Clip, rng: np.random.Generator) -> Clip:
        height, width = clip.frames.shape[1:3]
        side = rng.uniform(*self.area) ** 0.5
        stretch = np.exp(rng.uniform(*np.log(self.aspect))) ** 0.5
        tall, wide = (
            max(1, round(length * min(1.0, share)))
            for length, share in ((height, side / stretch), (width, side * stretch))
        )
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        rows, columns = slice(top, top + tall), slice(left, left + wide)
        ignored = None if clip.ignored is None else clip.ignored[:, rows, columns]
        return Clip(clip.frames[:, rows, columns], clip.masks[..., rows, columns], clip.object_ids, ignored)


@dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast and saturation, or grey.

    Attributes:
        brightness: the factor is up to so much above or below 1.
        contrast: likewise.
        saturation: likewise.
        grey: probability of a clip without colours.
        per_frame: share of the change that differs from frame to frame.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    grey: float = 0.05
    per_frame: float = 0.2

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        limits = np.array([self.brightness, self.contrast, self.saturation], np.float32)
        shared = rng.uniform(-1, 1, 3)
        is_grey = rng.random() < self.grey
        frames = np.empty_like(clip.frames)
        for index, frame in enumerate(clip.frames):
            own = rng.uniform(-1, 1, 3)
            factors = 1 + limits * ((1 - self.per_frame) * shared + self.per_frame * own)
            frames[index] = _recolour(frame, factors * (1, 1, 0 if is_grey else 1))
        return Clip(frames, clip.masks, clip.object_ids, clip.ignored)


def _recolour(frame: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Change brightness, contrast and saturation of (H, W, 3) uint8, by one product with one matrix."""
    brightness, contrast, saturation = (float(factor) for factor in factors)
    mixing = saturation * np.eye(3) + (1 - saturation) * np.tile(_GREY, (3, 1))
    mean = float(frame.reshape(-1, 3).mean(axis=0) @ _GREY)
    matrix = (brightness * contrast * mixing).astype(np.float32)
    shifted = frame.astype(np.float32) @ matrix.T + np.float32(brightness * (1 - contrast) * mean)
    return np.clip(shifted + 0.5, 0, 255).astype(np.uint8)


def standard_augmentation(size: tuple[int, int], crop_area: tuple[float, float] = (0.4, 1.0)) -> Compose:
    """Combine flips, crops and colour jitter.

    Args:
        size: (height, width) of the clips in pixels.
        crop_area: range of a crop's share of the frame's area.

    Returns:
        The augmentation.
    """
    return Compose((Flip(), ResizedCrop(size, crop_area), ColourJitter()))
