"""Files to take home: of the results of the package, in a person's own folder."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from ..masks.drawing import Colour
from ..results.clip_result import ClipResult
from ..results.image_result import ImageResult
from ..results.label_maps import write_label_map

IMAGE_FILES = {"overlay": "PNG overlay", "labels": "Label map", "cutouts": "Cut-outs", "coco": "COCO JSON"}
CLIP_FILES = {"mp4": "MP4 overlay", "coco": "COCO JSON", "masks": "Masks (PNG)", "csv": "CSV table"}
"""Kinds of files, and what they are called."""


def write_image_file(kind: str, result: ImageResult, colours: dict[str, Colour], folder: Path) -> Path:
    """Write a file of an image's objects.

    Args:
        kind: one of `IMAGE_FILES`.
        result: the objects.
        colours: by the objects' names; those without one have another.
        folder: where it goes; a file of the same kind there is replaced.

    Returns:
        The file.
    """
    drawn = dict(colours) if all(name in colours for name in result.names) else None
    writers: dict[str, tuple[str, Callable[[Path], object]]] = {
        "overlay": ("segmented.png", lambda path: result.overlay(colours=drawn, prompts=False).save(path)),  # type: ignore[arg-type]
        "labels": ("labels.png", lambda path: write_label_map(path, result.label_map())),
        "cutouts": ("cutouts.zip", lambda path: _write_cutouts(path, result)),
        "coco": ("coco.json", result.to_coco),
    }
    return _write(writers, kind, folder)


def write_clip_file(kind: str, result: ClipResult, colours: dict[str, Colour], folder: Path) -> Path:
    """Write a file of a clip's objects.

    Args:
        kind: one of `CLIP_FILES`.
        result: the objects.
        colours: by the objects' names.
        folder: where it goes; a file of the same kind there is replaced.

    Returns:
        The file.
    """
    writers: dict[str, tuple[str, Callable[[Path], object]]] = {
        "mp4": ("tracked.mp4", lambda path: result.save(path, colours=colours, prompts=False)),
        "coco": ("coco.json", result.to_coco),
        "masks": ("masks.zip", lambda path: _write_label_maps(path, result)),
        "csv": ("objects.csv", result.to_csv),
    }
    return _write(writers, kind, folder)


def _write(writers: dict[str, tuple[str, Callable[[Path], object]]], kind: str, folder: Path) -> Path:
    if kind not in writers:
        raise ValueError(f"the kind of file must be one of {', '.join(writers)}, got {kind!r}")
    name, write = writers[kind]
    write(folder / name)
    return folder / name


def _write_cutouts(path: Path, result: ImageResult) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, item in enumerate(result.objects, start=1):
            if not item.area:
                continue
            safe = re.sub(r"[^\w-]+", "_", str(item.name)).strip("_") or "object"
            with archive.open(f"{number:03d}_{safe}.png", "w") as file:
                result.cutout(item.name).save(file, "PNG")


def _write_label_maps(path: Path, result: ClipResult) -> None:
    folder = path.with_suffix("")
    try:
        files = result.to_label_maps(folder)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file in files:
                archive.write(file, file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
