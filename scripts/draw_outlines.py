"""Draws the masks of photographs that were outlined by hand, as a folder for `sam2 evaluate`.

    python scripts/draw_outlines.py configs/outlined_photographs.json outlined
    sam2 evaluate CHECKPOINT clicks image_folder root=outlined

The photographs are files of gradio and matplotlib, which have to be installed, or whose wheels lie in a folder that is
given with --wheels. They are not part of the project. The outlines are polygons in pixels of the file, with the corner
of the image at (0, 0); a pixel belongs to an object of which half of it or more is inside.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_FINER = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes `images/NAME.png` and `masks/NAME/OBJECT.png`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outlines", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheels", type=Path, help="a folder of wheels of packages that are not installed")
    given = parser.parse_args(arguments)
    (given.folder / "images").mkdir(parents=True, exist_ok=True)
    for name, entry in json.loads(given.outlines.read_text(encoding="utf-8"))["images"].items():
        try:
            image = _open(entry["source"], given.wheels)
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
            return 1
        if image.size != (entry["width"], entry["height"]):
            print(f"{name} is {image.size}, but was {entry['width']} x {entry['height']}", file=sys.stderr)
            return 1
        image.save(given.folder / "images" / f"{name}.png")
        folder = given.folder / "masks" / name
        folder.mkdir(parents=True, exist_ok=True)
        for thing in entry["objects"]:
            mask = draw_mask(thing["polygons"], image.size)
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{thing['name']}.png")
        print(f"{name}: {len(entry['objects'])} objects")
    return 0


def draw_mask(polygons: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> np.ndarray:
    """Draw the union of polygons in an image of `size` (width, height); (height, width) bool."""
    width, height = size
    canvas = Image.new("L", (width * _FINER, height * _FINER))
    pen = ImageDraw.Draw(canvas)
    for polygon in polygons:
        pen.polygon([(x * _FINER - 0.5, y * _FINER - 0.5) for x, y in polygon], fill=1)
    parts = np.asarray(canvas, np.float32).reshape(height, _FINER, width, _FINER)
    return np.asarray(parts.mean(axis=(1, 3)) >= 0.5)


def _open(source: str, wheels: Path | None) -> Image.Image:
    """Open a file of a package, "package:path", from where it is installed or from a wheel."""
    package, path = source.split(":")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if Path(folder, path).is_file():
            return Image.open(Path(folder, path)).convert("RGB")
    for wheel in sorted(wheels.glob(f"{package}-*.whl")) if wheels else []:
        with zipfile.ZipFile(wheel) as archive:
            return Image.open(io.BytesIO(archive.read(f"{package}/{path}"))).convert("RGB")
    raise FileNotFoundError(f"{source}: {package} is not installed here, nor is its wheel in --wheels")


if __name__ == "__main__":
    sys.exit(main())
