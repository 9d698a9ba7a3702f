"""Label maps as palette PNGs, the format of DAVIS and MOSE: one file a frame, pixel value 0 for the background."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .records import ImageRecord, ObjectMask

_MOST_LABELS = 254  # 255 is what annotators could not decide upon


def label_map(objects: Sequence[ObjectMask], size: tuple[int, int], names: Sequence[Hashable]) -> np.ndarray:
    """Write which object each pixel belongs to.

    Args:
        objects: their masks may overlap; smaller ones are written over larger ones.
        size: (height, width).
        names: the label of an object is its position in them, from 1.

    Returns:
        uint8 (height, width), 0 where no object is.

    Raises:
        ValueError: more than 254 names.
    """
    if len(names) > _MOST_LABELS:
        raise ValueError(f"a label map holds at most {_MOST_LABELS} objects, got {len(names)}")
    labels = np.zeros(size, np.uint8)
    for item in sorted(objects, key=lambda item: -item.area):
        labels[item.mask] = list(names).index(item.name) + 1
    return labels


def davis_palette() -> list[int]:
    """List the 256 colours of PASCAL VOC and DAVIS, as Pillow takes them: red, green, blue, red, ..."""
    colours = []
    for label in range(256):
        for channel in range(3):
            colours.append(sum((label >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)))
    return colours


def write_label_map(path: str | os.PathLike[str], labels: np.ndarray) -> None:
    """Write a label map (height, width), uint8, as a PNG with DAVIS's palette."""
    image = Image.fromarray(labels)
    image.putpalette(davis_palette())
    image.save(path)


class LabelMapWriter:
    """Writes a palette PNG for each frame that passes: 00000.png, 00001.png, ... by the numbers of the frames.

    Args:
        folder: where the files go; made if it is not there.
        names: of all objects; an object's label is its position in them, from 1. Others follow as they come.
    """

    def __init__(self, folder: str | os.PathLike[str], names: Sequence[Hashable]):
        self._folder = Path(folder)
        self._names = list(names)
        self._count = 0
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, record: ImageRecord) -> None:
        """Write a frame."""
        number = self._count if record.frame is None else record.frame
        self._count += 1
        self._names += [item.name for item in record.objects if item.name not in self._names]
        write_label_map(self._folder / f"{number:05d}.png", label_map(record.objects, record.size, self._names))

    def close(self) -> None:
        """Do nothing: each file is complete."""
