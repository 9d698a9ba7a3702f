"""Images and clips to measure on: a photograph, or a drawn image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

DRAWN_SIZE = (1800, 1200)
_STEP = 4
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def load_image(path: Path | None) -> Image.Image:
    """The image at `path` in RGB, upright; without a path, a drawn scene at the size of a photograph."""
    if path is not None:
        return ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    from .scene import draw_scene

    return draw_scene().resize(DRAWN_SIZE, Image.Resampling.BICUBIC)


def as_square(image: Image.Image) -> Image.Image:
    """The image resized to a square of its longer side."""
    return image.resize((max(image.size),) * 2, Image.Resampling.BICUBIC)


def as_pixels(image: Image.Image, image_size: int) -> torch.Tensor:
    """Normalised pixels (1, 3, image_size, image_size), made without any processor and so the same for all."""
    return _normalised(_bytes(image.resize((image_size, image_size), Image.Resampling.BILINEAR)))[None]


class Clip:
    """A camera's pan over an image: normalised frames (3, image_size, image_size), made when they are read."""

    def __init__(self, image: Image.Image, image_size: int, num_frames: int, device: str = "cpu"):
        width = image_size + _STEP * (num_frames - 1)
        self._wide = _bytes(image.resize((width, image_size), Image.Resampling.BILINEAR)).to(device)
        self._size, self._num_frames = image_size, num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, frame: int) -> torch.Tensor:
        if not 0 <= frame < self._num_frames:
            raise IndexError(f"frame {frame} of a clip of {self._num_frames}")
        return _normalised(self._wide[..., frame * _STEP : frame * _STEP + self._size])


def _bytes(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() / 255 - _MEAN.to(pixels.device)) / _STD.to(pixels.device)
