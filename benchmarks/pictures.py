"""Pictures and clips to measure on: a real picture, or a drawn one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

DRAWN_SIZE = (1800, 1200)
_STEP = 4
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def load_picture(path: Path | None) -> Image.Image:
    """The picture at `path`; without one, a drawn scene at the size of a photograph."""
    if path is not None:
        return ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    from .scene import draw_scene

    return draw_scene().resize(DRAWN_SIZE, Image.Resampling.BICUBIC)


def as_square(picture: Image.Image) -> Image.Image:
    """The picture squeezed to a square of its longer side."""
    return picture.resize((max(picture.size),) * 2, Image.Resampling.BICUBIC)


def as_pixels(picture: Image.Image, image_size: int) -> torch.Tensor:
    """A model's input (1, 3, S, S), the same for every side because no side's processor made it."""
    return _normalised(_bytes(picture.resize((image_size, image_size), Image.Resampling.BILINEAR)))[None]


class Clip:
    """A camera's pan over a picture: frames (3, S, S), normalised, made when they are asked for."""

    def __init__(self, picture: Image.Image, image_size: int, num_frames: int, device: str = "cpu"):
        width = image_size + _STEP * (num_frames - 1)
        self._wide = _bytes(picture.resize((width, image_size), Image.Resampling.BILINEAR)).to(device)
        self._size, self._num_frames = image_size, num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, frame: int) -> torch.Tensor:
        if not 0 <= frame < self._num_frames:
            raise IndexError(f"frame {frame} of a clip of {self._num_frames}")
        return _normalised(self._wide[..., frame * _STEP : frame * _STEP + self._size])


def _bytes(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() / 255 - _MEAN.to(pixels.device)) / _STD.to(pixels.device)
