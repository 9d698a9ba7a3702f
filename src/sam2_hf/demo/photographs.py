"""Photographs that installed packages ship, for demonstrations. None is part of this package, and none is fetched."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

Point = tuple[int, int]


class Photograph(NamedTuple):
    """A file that a package may have, and points (x, y) on some objects in it, in pixels."""

    package: str
    file: str
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.file).stem

    def path(self) -> Path | None:
        """Find the file without importing the package; None if it is not there."""
        try:
            spec = importlib.util.find_spec(self.package)
        except ValueError:  # a module that was replaced by something without a specification
            return None
        folders = [] if spec is None else spec.submodule_search_locations or []
        return next((path for folder in folders if (path := Path(folder, self.file)).is_file()), None)

    def read(self) -> Image.Image:
        """Read the image as RGB.

        Raises:
            FileNotFoundError: if the package is not installed, or has no such file.
        """
        path = self.path()
        if path is None:
            raise FileNotFoundError(
                f"{self.file} is a file of the package {self.package!r}, which does not have it here"
            )
        with Image.open(path) as opened:
            return opened.convert("RGB")


PHOTOGRAPHS = (
    Photograph("skimage", "data/coins.png", ((45, 53), (153, 49), (345, 183))),
    Photograph("skimage", "data/coffee.png", ((288, 128), (190, 290), (372, 262))),
    Photograph("skimage", "data/rocket.jpg", ((322, 230),)),
    Photograph("gradio", "media_assets/images/tower.jpg", ((212, 220),)),
    Photograph("gradio", "media_assets/images/lion.jpg", ((118, 75), (215, 110), (200, 215))),
)
"""In the order in which they are preferred. scikit-image comes with the extra "demo", gradio with "app"."""


def installed_photographs(package: str | None = None) -> Iterator[Photograph]:
    """Give the photographs that are there, of one package or of all."""
    return (item for item in PHOTOGRAPHS if package in (None, item.package) and item.path() is not None)
