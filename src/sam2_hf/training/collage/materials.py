"""The images that collages are made of: photographs for backgrounds and textures, and cut-outs with alpha."""

from __future__ import annotations

import os
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..data.annotated_video import IMAGE_SUFFIXES, read_image
from ..synthetic.draws import Draws

SPRITE_SIZE = 256
"""Side of the square that a cut-out is in, S in the descriptions of shapes."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Of ten images one is for validation and one for the test.
_PARTS = ("validation", "test", *("train",) * 8)
_MOST_BACKGROUNDS, _MOST_CUTOUTS = 64, 512


class Materials:
    """A folder with `backgrounds/` (photographs) and `cutouts/` (PNG or WebP with an alpha channel).

    Cut-outs lie in folders of one kind each, and the kinds are drawn equally often.

    An image belongs to one split, by its name without the suffix, so that no split shows what another has shown.

    Args:
        folder: the folder; `scripts/fetch_collage_materials.py` fills one.
        split: "train", "validation" or "test".

    Raises:
        ValueError: for an unknown split, or if the split has no photographs or no cut-outs.
    """

    def __init__(self, folder: str | os.PathLike[str], split: Split):
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
        self.folder, self.split = Path(folder), split
        self.backgrounds = self._list("backgrounds")
        kinds = sorted(path.name for path in (self.folder / "cutouts").glob("*") if path.is_dir())
        self.cutouts = [self._list(f"cutouts/{kind}") for kind in kinds]
        if not self.cutouts:
            raise ValueError(f"folder must hold a folder of cut-outs in cutouts/, got {self.folder}")

    def _list(self, kind: str) -> list[Path]:
        paths = sorted(path for path in (self.folder / kind).glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        chosen = [path for path in paths if split_of(path.stem) == self.split]
        if not chosen:
            raise ValueError(
                f"folder must hold images for the split {self.split!r} in {kind}/, got {self.folder} with {len(paths)} "
                "images there"
            )
        return chosen

    def draw_background(self, draws: Draws) -> np.ndarray:
        """Draw a photograph, (H, W, 3) uint8."""
        return self.photograph(draws.choose(self.backgrounds))

    def draw_cutout(self, draws: Draws) -> np.ndarray:
        """Draw a cut-out, (S, S, 4) uint8."""
        return self.cutout(draws.choose(draws.choose(self.cutouts)))

    @staticmethod
    @lru_cache(_MOST_BACKGROUNDS)
    def photograph(path: Path) -> np.ndarray:
        """Read a photograph, (H, W, 3) uint8."""
        return read_image(path)

    @staticmethod
    @lru_cache(_MOST_CUTOUTS)
    def cutout(path: Path) -> np.ndarray:
        """Read a cut-out, in the middle of a square that its longer side fills, (S, S, 4) uint8.

        Raises:
            ValueError: names the file if nothing in it is opaque.
        """
        with Image.open(path) as opened:
            image = opened.convert("RGBA")
        box = image.getchannel("A").getbbox()
        if box is None:
            raise ValueError(f"a cut-out must show something, {path} is transparent")
        image = image.crop(box)
        side = max(image.size)
        square = Image.new("RGBA", (side, side))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return np.asarray(square.resize((SPRITE_SIZE, SPRITE_SIZE), Image.Resampling.BICUBIC))


def split_of(name: str) -> str:
    """Return the split that an image of a name belongs to."""
    return _PARTS[zlib.crc32(name.encode()) % len(_PARTS)]
