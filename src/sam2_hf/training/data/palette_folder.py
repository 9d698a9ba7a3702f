"""Videos as folders of images, with masks in palette PNGs: DAVIS, MOSE, YouTube-VOS and others of that layout.

    root/JPEGImages/VIDEO/00000.jpg
    root/Annotations/VIDEO/00000.png     the number of the object at every pixel

DAVIS has a folder for each resolution in between: JPEGImages/480p/VIDEO. Frames may lack masks.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np

from .annotated_video import AnnotatedVideo, images_in, read_image, read_index_map, split_index_map, stem

VOID = 255  # pixels that annotators left undecided


class _PaletteVideo(AnnotatedVideo):
    exclusive = True

    def __init__(self, name: str, images: Path, masks: Path):
        self.name = name
        self._images = images_in(images)
        by_stem = {stem(path): path for path in images_in(masks)}
        self.num_frames = len(self._images)
        self._masks = {frame: by_stem[stem(path)] for frame, path in enumerate(self._images) if stem(path) in by_stem}
        self.annotated = sorted(self._masks)

    def image(self, frame: int) -> np.ndarray:
        return read_image(self._images[frame])

    def masks(self, frame: int) -> dict[Hashable, np.ndarray]:
        return split_index_map(read_index_map(self._masks[frame]), VOID)

    def ignored(self, frame: int) -> np.ndarray | None:
        void = read_index_map(self._masks[frame]) == VOID
        return void if void.any() else None


class PaletteFolder(Sequence[AnnotatedVideo]):
    """The videos of a folder, in order of their names.

    Args:
        root: the folder.
        videos: names of some videos, or the text file that lists them, as in DAVIS' ImageSets; all by default.
        resolution: DAVIS' folder in between.

    Raises:
        FileNotFoundError: for videos that do not exist.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        videos: Iterable[str] | str | os.PathLike[str] | None = None,
        resolution: str = "",
    ):
        self._images, self._masks = (Path(root, part, resolution) for part in ("JPEGImages", "Annotations"))
        if not self._masks.is_dir():
            raise FileNotFoundError(f"{self._masks} is missing: expected {os.fspath(root)}/Annotations/VIDEO/*.png")
        if videos is None:
            self.names = sorted(path.name for path in self._masks.iterdir() if path.is_dir())
        else:
            self.names = read_names(videos)
        for name in self.names:
            for folder in (self._images / name, self._masks / name):
                if not folder.is_dir():
                    raise FileNotFoundError(f"the video {name!r} has no folder {folder}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> AnnotatedVideo:  # type: ignore[override]
        name = self.names[index]
        return _PaletteVideo(name, self._images / name, self._masks / name)


def read_names(videos: Iterable[str] | str | os.PathLike[str]) -> list[str]:
    """Read names of videos: given as such, or as a text file with one name on each line."""
    if isinstance(videos, (str, os.PathLike)):
        return [line.strip() for line in Path(videos).read_text(encoding="utf-8").splitlines() if line.strip()]
    return list(videos)
