"""An image file of several pages as a sequence of images: a TIFF stack, an animated WebP, a GIF without times."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from .gif_blocks import GIF_SIGNATURE, has_untimed_images
from .source import VideoDecodingError

#: How the formats begin of which FFmpeg reads no more than the first page, if any.
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class ImagePages:
    """The pages of one image, each read when it is asked for.

    A file is opened anew in a forked process: the two would otherwise share one position in it.
    """

    def __init__(self, image: Image.Image, path: Path | None = None):
        self._image = image
        self._path = path
        self._process = os.getpid()
        self._count: int = getattr(image, "n_frames", 1)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Image.Image:
        """Read a page.

        Raises:
            VideoDecodingError: the page is broken or lost.
        """
        if self._path is not None and self._process != os.getpid():
            self._image, self._process = Image.open(self._path), os.getpid()
        try:
            self._image.seek(index)
            return self._image.copy()
        except Exception as error:  # Pillow's decoders raise errors of many kinds
            raise VideoDecodingError(index, f"its page cannot be read ({error})") from error

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._path is not None:
            self._image.close()


def open_pages(path: Path) -> ImagePages | None:
    """Open an image file of several pages.

    Args:
        path: any file.

    Returns:
        The pages; None for files of other kinds, and for those with one page.
    """
    with path.open("rb") as file:
        head = file.read(12)
    is_webp = (head[:4], head[8:]) == (b"RIFF", b"WEBP")
    is_untimed_gif = head.startswith(GIF_SIGNATURE) and has_untimed_images(path.read_bytes())
    if not (head.startswith(_SIGNATURES) or is_webp or is_untimed_gif):
        return None
    try:
        pages = ImagePages(Image.open(path), path)
    except Exception:  # FFmpeg may know better, and says what is wrong where it does not
        return None
    if len(pages) > 1:
        return pages
    pages.close()
    return None
