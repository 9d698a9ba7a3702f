"""A folder of images with a mask for each instance.

root/images/street.jpg
root/masks/street.png            the number of the instance at every pixel, 0 for none; or
root/masks/street/anything.png   a file for each instance, nonzero on the instance
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from .annotated_video import AnnotatedVideo, images_in, read_image, read_index_map, split_index_map, stem


class _Image(AnnotatedVideo):
    num_frames = 1
    annotated = (0,)

    def __init__(self, path: str, masks: Path):
        self.name = os.path.basename(path)
        self._path, self._masks = path, masks

    def image(self, frame: int) -> np.ndarray:
        return read_image(self._path)

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        if self._masks.is_dir():
            return {stem(path): read_index_map(path) > 0 for path in images_in(self._masks)}
        return split_index_map(read_index_map(self._masks))


class ImageFolder(Sequence[AnnotatedVideo]):
    """The images of a folder that have masks, in natural order of their names.

    Args:
        root: the folder.
        images: folder of the images in it.
        masks: folder of the masks in it.

    Raises:
        FileNotFoundError: if no image has masks.
    """

    def __init__(self, root: str | os.PathLike[str], images: str = "images", masks: str = "masks"):
        self._found = []
        for path in images_in(Path(root, images)):
            folder = Path(root, masks, stem(path))
            if folder.is_dir() or folder.with_name(f"{folder.name}.png").is_file():
                target = folder if folder.is_dir() else folder.with_name(f"{folder.name}.png")
                self._found.append(_Image(path, target))
        if not self._found:
            raise FileNotFoundError(
                f"{os.fspath(root)} has no image with masks: expected {images}/NAME.jpg with {masks}/NAME.png or "
                f"{masks}/NAME/*.png"
            )

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> AnnotatedVideo:  # type: ignore[override]
        return self._found[index]
