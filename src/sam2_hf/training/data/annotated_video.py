"""Videos with masks on some of their frames, which every data set consists of. An image is a video of one frame.

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
    """Frames of a video and the objects in them.

    Attributes:
        frames: (T, H, W, 3) uint8.
        masks: (T, N, H, W) bool; an object that is hidden in a frame has an empty mask there.
        object_ids: N ids.
        ignored: (T, H, W) bool, pixels whose object is unknown; None if there are none.
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
        """Keep some of the objects."""
        chosen = list(rows)
        ids = tuple(self.object_ids[row] for row in chosen)
        return Clip(self.frames, self.masks[:, chosen], ids, self.ignored)


def reappears(visible: np.ndarray) -> np.ndarray:
    """Find where something is visible after it was hidden: (T, ...) bool to the same shape, time first."""
    return visible & np.logical_or.accumulate(~visible, axis=0)


class AnnotatedVideo(ABC):
    """A video, or an image, that is read from disk when it is needed.

    Attributes:
        name: in errors and results.
        num_frames: number of frames.
        annotated: the frames that have masks, in order.
        exclusive: whether a pixel belongs to at most one object, as in a map of numbers.
    """

    name: str
    num_frames: int
    annotated: Sequence[int]
    exclusive: bool = False

    @abstractmethod
    def image(self, frame: int) -> np.ndarray:
        """Read a frame, (H, W, 3) uint8."""

    @abstractmethod
    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        """Read the objects of an annotated frame, each (H, W) bool; hidden objects may be left out."""

    def ignored(self, frame: int) -> np.ndarray | None:
        """Read the pixels whose object is unknown, (H, W) bool; None if there are none."""
        return None

    def read(self, frames: Sequence[int]) -> Clip:
        """Read some annotated frames, with all objects that are visible in any of them.

        Raises:
            ValueError: names the video if the sizes of images and masks differ.
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
    """Read an image file as (H, W, 3) uint8, upright."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_index_map(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file whose pixels are object numbers, (H, W): a palette, grey of 8 or 16 bits, or black and white.

    Raises:
        ValueError: for an image with colours, which name no objects.
    """
    with Image.open(path) as image:
        if image.mode not in ("P", "L", "I", "I;16", "1"):
            raise ValueError(
                f"{os.fspath(path)} must hold numbers (a palette, or grey), one for each object; got the mode "
                f"{image.mode}"
            )
        return np.asarray(image).astype(np.int64)


def split_index_map(numbers: np.ndarray, void: int | None = None) -> dict[Hashable, np.ndarray]:
    """Split a map of numbers (H, W) into objects, each (H, W) bool; 0 is the background, `void` is unknown."""
    present = [int(number) for number in np.unique(numbers) if number not in (0, void)]
    return {number: numbers == number for number in present}


def images_in(folder: str | os.PathLike[str]) -> list[str]:
    """List the paths of the images in a folder, in natural order of their names."""
    names = [name for name in os.listdir(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
    return [os.path.join(folder, name) for name in natural_order(names)]


def stem(path: str) -> str:
    """Take folder and suffix off a path."""
    return os.path.splitext(os.path.basename(path))[0]
