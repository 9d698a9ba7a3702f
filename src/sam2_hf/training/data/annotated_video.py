"""What every data set offers: videos with masks on some of their frames. An image is a video of one frame.

Axes: T frames, N objects, H and W in pixels.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ...inputs.natural_order import natural_order

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Clip:
    """Some frames of a video and the objects in them.

    Attributes:
        frames: (T, H, W, 3) uint8.
        masks: (T, N, H, W) bool; an object that is not seen in a frame has an empty mask there.
        object_ids: N ids.
        ignored: (T, H, W) bool, pixels of which nobody knows what they belong to; None if there are none.
    """

    frames: np.ndarray
    masks: np.ndarray
    object_ids: tuple[Hashable, ...]
    ignored: np.ndarray | None = None

    def __post_init__(self) -> None:
        frames, masks = self.frames.shape, self.masks.shape
        count = (frames[0], len(self.object_ids), *frames[1:3])
        if len(frames) != 4 or frames[-1] != 3 or masks != count:
            raise ValueError(
                f"frames must be (frames, height, width, 3) and masks (frames, objects, height, width) for "
                f"{len(self.object_ids)} objects, got {frames} and {masks}"
            )
        if self.ignored is not None and self.ignored.shape != (frames[0], *frames[1:3]):
            raise ValueError(f"ignored must be (frames, height, width), got {self.ignored.shape}")

    def with_objects(self, rows: Sequence[int]) -> Clip:
        """The same frames with some of the objects."""
        chosen = list(rows)
        ids = tuple(self.object_ids[row] for row in chosen)
        return Clip(self.frames, self.masks[:, chosen], ids, self.ignored)


def reappears(seen: np.ndarray) -> np.ndarray:
    """Where something is seen after it was out of sight: (T, ...) bool to the same shape, time first."""
    return seen & np.logical_or.accumulate(~seen, axis=0)


class AnnotatedVideo(ABC):
    """A video, or an image, that is read from disk when it is asked for.

    Attributes:
        name: says which one it is, in errors and results.
        num_frames: how many frames there are.
        annotated: which of them have masks, in order.
        exclusive: whether a pixel belongs to one object at most, as where a frame's masks are one map of numbers.
    """

    name: str
    num_frames: int
    annotated: Sequence[int]
    exclusive: bool = False

    @abstractmethod
    def image(self, frame: int) -> np.ndarray:
        """A frame, (H, W, 3) uint8."""

    @abstractmethod
    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        """The objects of an annotated frame, each (H, W) bool; those that are not seen may be left out."""

    def ignored(self, frame: int) -> np.ndarray | None:
        """(H, W) bool, pixels that belong to nobody knows what; None if there are none."""
        return None

    def read(self, frames: Sequence[int]) -> Clip:
        """Some annotated frames with all objects that are seen in any of them.

        Raises a `ValueError` that names the video if the sizes of images and masks differ.
        """
        images = [self.image(frame) for frame in frames]
        found = [self.masks(frame) for frame in frames]
        ignored = [self.ignored(frame) for frame in frames]
        size = images[0].shape[:2]
        others = [mask.shape for masks in found for mask in masks.values()]
        others += [mask.shape for mask in ignored if mask is not None]
        for other in [*(image.shape[:2] for image in images), *others]:
            if other != size:
                raise ValueError(f"{self.name}: images and masks must have one size, got {size} and {other}")
        ids = tuple(dict.fromkeys(obj_id for masks in found for obj_id in masks))
        nothing = np.zeros(size, bool)
        stacked = [masks.get(obj_id, nothing) for masks in found for obj_id in ids]
        return Clip(
            np.stack(images),
            np.stack(stacked).reshape(len(found), len(ids), *size) if ids else np.zeros((len(found), 0, *size), bool),
            ids,
            np.stack([nothing if mask is None else mask for mask in ignored])
            if any(mask is not None for mask in ignored)
            else None,
        )


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """An image file as (H, W, 3) uint8, upright."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_index_map(path: str | os.PathLike[str]) -> np.ndarray:
    """An image file whose pixels are numbers, (H, W): of a palette, in grey of 8 or 16 bits, or black and white.

    Raises a `ValueError` for colours: which of them mean an object, nobody could say.
    """
    with Image.open(path) as image:
        if image.mode not in ("P", "L", "I", "I;16", "1"):
            raise ValueError(
                f"{os.fspath(path)} must hold numbers (a palette, or grey), one for each object; got the mode "
                f"{image.mode}"
            )
        return np.asarray(image).astype(np.int64)


def split_index_map(numbers: np.ndarray, void: int | None = None) -> dict[Hashable, np.ndarray]:
    """The objects of a map of numbers (H, W), each (H, W) bool; 0 is the background, `void` is nobody's."""
    present = [int(number) for number in np.unique(numbers) if number not in (0, void)]
    return {number: numbers == number for number in present}


def images_in(folder: str | os.PathLike[str]) -> list[str]:
    """The paths of the images in a folder, in order of their names; numbers count as numbers."""
    names = [name for name in os.listdir(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
    return [os.path.join(folder, name) for name in natural_order(names)]


def stem(path: str) -> str:
    """The name of a file without folder and suffix."""
    return os.path.splitext(os.path.basename(path))[0]
