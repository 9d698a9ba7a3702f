"""Small data sets on disk, in the layouts that the readers know."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from sam2_hf.masks.rle import compress_rle, mask_to_rle
from sam2_hf.training.data.annotated_video import AnnotatedVideo

SIZE = (24, 32)


def plain_image(number: int, size=SIZE) -> np.ndarray:
    """An image of one colour, which tells its number."""
    return np.full((*size, 3), number * 10 + 5, np.uint8)


def number_of(pixels: np.ndarray) -> int:
    return round((float(pixels.mean()) - 5) / 10)


def block(top: int, left: int, height: int = 6, width: int = 8, size=SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def save_image(path, number, **settings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(plain_image(number)).save(path, **settings)


def save_numbers(path, numbers: np.ndarray, mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(numbers.astype(np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image = image.convert("P")
        image.putdata(numbers.flatten().tolist())
        image.putpalette([value for number in range(256) for value in (number * 40 % 256, number, 255 - number)])
    image.save(path)


def encode(mask: np.ndarray) -> dict:
    import torch

    return compress_rle(mask_to_rle(torch.from_numpy(mask)[None])[0])


def save_json(path, content) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


class Blocks(AnnotatedVideo):
    """A video in memory: two blocks that move right, and one that is there from frame 3 on."""

    def __init__(self, num_frames=10, name="blocks", step=1):
        self.name, self.num_frames, self.annotated = name, num_frames, range(0, num_frames, step)

    def image(self, frame):
        return plain_image(frame)

    def masks(self, frame):
        masks = {"a": block(2, frame), "b": block(14, 2 + frame)}
        return {**masks, "late": block(9, 20, 3, 3)} if frame >= 3 else masks
