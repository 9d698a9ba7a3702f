"""What people upload: read as images or clips within limits, and nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ..video_io.open_video import VideoSource, open_video

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What Pillow may read: formats that hold pixels alone. Others, such as EPS, run programs."""

_CLIP_SIGNATURES = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "), (0, b"GIF8"))
"""How MP4 and MOV, MKV and WebM, AVI and GIF begin. Playlists, which name other files, begin otherwise."""


@dataclass(frozen=True)
class Limits:
    """How much one person may upload.

    Attributes:
        file_bytes: of any file.
        image_pixels: of an image.
        clip_frames: of a clip.
        clip_pixels: of each frame of a clip.
    """

    file_bytes: int = 200_000_000
    image_pixels: int = 30_000_000
    clip_frames: int = 600
    clip_pixels: int = 4_000_000


def read_image(path: str | os.PathLike[str], limits: Limits) -> Image.Image:
    """Read an uploaded image.

    Args:
        path: the file.
        limits: how large it may be; its size is checked before it is decoded.

    Returns:
        The image, RGB and upright.

    Raises:
        ValueError: it is no image, of another format, or too large.
    """
    _check_bytes(path, limits)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            _check_pixels(image.width, image.height, limits.image_pixels, "an image")
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError(f"expected an image ({', '.join(IMAGE_FORMATS)}); this file is none") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image cannot be read: {error}") from error


def take_clip(path: str | os.PathLike[str], folder: Path, limits: Limits) -> VideoSource:
    """Move an uploaded clip into a folder and open it.

    Args:
        path: the file.
        folder: where it stays as long as it is needed.
        limits: how large and long it may be.

    Raises:
        ValueError: it is no clip, of another format, too large or too long. The file is removed then.
    """
    kept = folder / f"clip{Path(path).suffix.lower()}"
    shutil.move(os.fspath(path), kept)
    try:
        _check_bytes(kept, limits)
        _check_signature(kept)
        clip = open_video(kept)
        try:
            _check_pixels(clip.width, clip.height, limits.clip_pixels, "a frame of a clip")
            if len(clip) > limits.clip_frames:
                raise ValueError(f"a clip may have {limits.clip_frames} frames, this one has {len(clip)}: cut it first")
        except BaseException:
            clip.close()
            raise
    except BaseException:
        kept.unlink(missing_ok=True)
        raise
    return clip


def _check_signature(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(16)
    if not any(head[start : start + len(mark)] == mark for start, mark in _CLIP_SIGNATURES):
        raise ValueError("expected a clip (MP4, MOV, MKV, WebM, AVI, GIF); this file is none")


def _check_bytes(path: str | os.PathLike[str], limits: Limits) -> None:
    size = os.path.getsize(path)
    if size > limits.file_bytes:
        raise ValueError(f"a file may have {limits.file_bytes / 1e6:.0f} MB, this one has {size / 1e6:.0f} MB")


def _check_pixels(width: int, height: int, most: int, what: str) -> None:
    if width * height > most:
        raise ValueError(
            f"{what} may have {most / 1e6:.0f} million pixels, this one has {width} x {height}: reduce it first"
        )
