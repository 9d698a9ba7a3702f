"""Results of known masks, for tests of what is made of results."""

from __future__ import annotations

import numpy as np
import torch

from sam2_hf.results.clip_result import ClipResult
from sam2_hf.results.image_result import ImageResult
from sam2_hf.results.records import ObjectMask, ShownPrompt, encode_masks
from sam2_hf.video_io.open_video import open_video

SIZE = (96, 128)
NAMES = ("cup", "ring")


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A round mask (height, width), bool."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2


def drawn_masks(frame: int = 0) -> np.ndarray:
    """A disc, and a ring around a hole, that move to the right; (2, height, width), bool."""
    shift = 2 * frame
    return np.stack([disc(30 + shift, 60, 20), disc(80 + shift, 40, 28) & ~disc(80 + shift, 40, 12)])


def objects_of(masks: np.ndarray, names: tuple = NAMES, object_scores: tuple | None = None) -> list[ObjectMask]:
    prompt = ShownPrompt(((30.0, 60.0), (50.0, 20.0)), (1, 0), (10.0, 40.0, 50.0, 80.0))
    return [
        ObjectMask(name, rle, 0.9 - 0.2 * row, None if object_scores is None else object_scores[row], prompt)
        for row, (name, rle) in enumerate(zip(names, encode_masks(torch.from_numpy(masks)), strict=True))
    ]


def pixels_of(frame: int = 0) -> np.ndarray:
    """A smooth image, uint8 (height, width, 3), another one for each frame."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([60 + rows, 60 + columns, 90 + (rows + columns) // 4 + 3 * frame], axis=2).astype(np.uint8)


def image_result() -> ImageResult:
    return ImageResult(objects_of(drawn_masks()), pixels_of(), SIZE, "photo.jpg")


def clip_result(count: int = 9, hidden: tuple[int, ...] = (3,)) -> ClipResult:
    """A clip in which the ring is out of sight in the `hidden` frames."""
    clip = ClipResult(open_video(np.stack([pixels_of(frame) for frame in range(count)])), "drawn")
    for frame in range(count):
        masks = drawn_masks(frame)
        masks[1] &= frame not in hidden
        clip.put(frame, objects_of(masks, object_scores=(5.0, -3.0 if frame in hidden else 4.0)))
    return clip
