"""What the arguments IMAGES and CLIPS stand for: files, folders, patterns, addresses, cameras, the standard input."""

from __future__ import annotations

import atexit
import glob
import io
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..inputs.natural_order import natural_order
from ..video_io.file_source import VIDEO_SUFFIXES
from ..video_io.image_source import IMAGE_SUFFIXES

STANDARD_INPUT = "-"


class NamedSource(NamedTuple):
    """An image or a clip: what files that are written are named after, itself, and how the user named it."""

    stem: str
    source: Any
    text: str


def read_paths(file: str | None) -> list[str]:
    """Read a list of arguments, one a line; "-" is the standard input, None no list.

    Raises:
        OSError: it cannot be read.
    """
    if file is None:
        return []
    text = sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def find_images(texts: Sequence[str]) -> list[NamedSource]:
    """Find images.

    Args:
        texts: files, folders (their images), patterns, addresses, and "-" for the standard input.

    Returns:
        Those of each text in natural order.

    Raises:
        FileNotFoundError: nothing of that name, or a folder without images.
        ValueError: the standard input is no image, or the only file is a clip.
    """
    images: list[NamedSource] = []
    for text in texts:
        if text == STANDARD_INPUT:
            images.append(NamedSource("stdin", _read_image(), text))
        elif _is_address(text):
            images.append(NamedSource(_stem_of_address(text, "image"), text, text))
        else:
            images += [_named(path) for path in _files(text, IMAGE_SUFFIXES, "image")]
    if len(images) == 1 and Path(images[0].text).suffix.lower() in VIDEO_SUFFIXES:
        raise ValueError(f"{images[0].text!r} is a clip: for clips there is sam2 track")
    return images


def find_clips(texts: Sequence[str]) -> list[NamedSource]:
    """Find clips.

    Args:
        texts: files, folders, patterns, addresses, numbers of cameras, and "-" for the standard input. A folder of
            images is one clip; any other folder stands for the clips in it, files and folders of images.

    Returns:
        Those of each text in natural order.

    Raises:
        FileNotFoundError: nothing of that name, or a folder without clips.
    """
    clips: list[NamedSource] = []
    for text in texts:
        if text == STANDARD_INPUT:
            clips.append(NamedSource("stdin", _read_clip(), text))
        elif text.isdigit():
            clips.append(NamedSource(f"camera{text}", int(text), text))
        elif _is_address(text):
            clips.append(NamedSource(_stem_of_address(text, "clip"), text, text))
        elif os.path.isdir(text) and _has_images(Path(text)):
            clips.append(NamedSource(Path(text).resolve().name, text, text))
        else:
            clips += [_named(path) for path in _files(text, VIDEO_SUFFIXES, "clip", folders=True)]
    return clips


def refuse_to_overwrite(source: Any, files: Sequence[str | os.PathLike[str]]) -> None:
    """Keep what is read from being written over.

    Raises:
        ValueError: one of the files that would be written is the source.
    """
    if isinstance(source, (str, os.PathLike)) and os.path.exists(source):
        for file in files:
            if os.path.exists(file) and os.path.samefile(source, file):
                raise ValueError(f"{os.fspath(file)} would be overwritten: give another --out")


def _files(text: str, suffixes: frozenset[str], kind: str, folders: bool = False) -> list[Path]:
    if os.path.isdir(text):
        found = [
            path
            for path in Path(text).iterdir()
            if not path.name.startswith(".")
            and (path.suffix.lower() in suffixes or (folders and path.is_dir() and _has_images(path)))
        ]
        if not found:
            raise FileNotFoundError(f"the folder {text!r} holds no {kind}s")
        return natural_order(found)
    if os.path.exists(text):
        return [Path(text)]
    matches = natural_order(glob.glob(text, recursive=True))
    if not matches:
        raise FileNotFoundError(f"there is no such {'video file or folder' if folders else kind}: {text!r}")
    return [Path(path) for path in matches]


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir() if not path.name.startswith("."))


def _named(path: Path) -> NamedSource:
    return NamedSource(path.name if path.is_dir() else path.stem, path, str(path))


def _is_address(text: str) -> bool:
    return "://" in text


def _stem_of_address(address: str, otherwise: str) -> str:
    return Path(address.split("?")[0].split("://")[1].partition("/")[2]).stem or otherwise


def _read_bytes() -> bytes:
    content = sys.stdin.buffer.read()
    if not content:
        raise ValueError("the standard input is empty")
    return content


def _read_image() -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(_read_bytes()))
    except UnidentifiedImageError as error:
        raise ValueError("the standard input is no image") from error


def _read_clip() -> str:
    """Copy the standard input to a file, which is read in any order; it goes when the process ends."""
    content = _read_bytes()
    with tempfile.NamedTemporaryFile(prefix="sam2-", suffix=".mp4", delete=False) as file:
        file.write(content)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name
