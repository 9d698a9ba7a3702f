"""Images in batches: encoded together, prompted each for itself."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageOps

from ..inputs.images import read_images
from ..mask_generation.pipeline import Sam2MaskGenerationPipeline
from ..predictors.segmenter import Segmentation, Segmenter, everything_objects
from .failures import MachineError, describe, is_machine_failure
from .result_table import error_row, image_row
from .rows import Row, names_of

if TYPE_CHECKING:
    from .worker_settings import WorkerSettings


class LoadedRow(NamedTuple):
    """An image that was read, with its prompts (None for everything); or why it cannot be."""

    row: Row
    image: Any = None
    prompts: Any = None
    error: str = ""

    @property
    def pixels(self) -> int:
        """How many pixels the image has."""
        return 0 if self.error else self.image.width * self.image.height


def load_row(worker: WorkerSettings, row: Row) -> LoadedRow:
    """Read an image and its prompts.

    Raises:
        MachineError: the machine failed.
    """
    try:
        return LoadedRow(row, read_content(row.content), worker.prompts_of(row))
    except Exception as error:  # Pillow and its decoders raise errors of many kinds
        return LoadedRow(row, error=_row_error(error, row))


class ImageBatch:
    """Images that follow each other and are encoded at once: all with prompts, or all without.

    Results do not depend on what else is in the batch, up to rounding.

    Args:
        worker: says how they are segmented.
    """

    def __init__(self, worker: WorkerSettings):
        self._worker = worker
        self._rows: list[LoadedRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    def takes(self, loaded: LoadedRow) -> bool:
        """Whether there is room for an image, and it is prompted like the others. There is room for any first one."""
        good = [one for one in self._rows if not one.error]
        if loaded.error or not good:
            return True
        pixels = sum(one.pixels for one in good) + loaded.pixels
        has_room = len(good) < self._worker.batch_size and pixels <= self._worker.batch_pixels
        return has_room and (good[0].prompts is None) == (loaded.prompts is None)

    def add(self, loaded: LoadedRow) -> None:
        """Add an image, whether or not there is room."""
        self._rows.append(loaded)

    def compute(self) -> list[dict[str, Any]]:
        """Segment the images.

        Returns:
            A row of the table for each, in their order.

        Raises:
            MachineError: the machine failed.
            OSError: the checkpoint cannot be found.
        """
        good = [one for one in self._rows if not one.error]
        found = iter(self._segment_all(Segmenter(**self._worker.loading(is_clip=False)), good) if good else ())
        return [error_row(one.row, one.error) if one.error else next(found) for one in self._rows]

    def _segment_all(self, segmenter: Segmenter, rows: list[LoadedRow]) -> list[dict[str, Any]]:
        """Segment a batch; where that fails, each image alone, so that the one that fails is known."""
        try:
            return self._segment(segmenter, rows)
        except Exception as error:  # of any kind: the device may lack memory for all at once
            reason = _row_error(error, rows[0].row)
        if len(rows) == 1:
            return [error_row(rows[0].row, reason)]
        return [found for one in rows for found in self._segment_all(segmenter, [one])]

    def _segment(self, segmenter: Segmenter, rows: list[LoadedRow]) -> list[dict[str, Any]]:
        images = [one.image for one in rows]
        if rows[0].prompts is not None:
            encoded = zip(segmenter.encode_batch(images), (one.prompts[0] for one in rows), strict=True)
            found = [
                Segmentation(one, prompts, one.predict(prompts, [None] * len(prompts))).objects
                for one, prompts in encoded
            ]
        else:
            generator = Sam2MaskGenerationPipeline(
                model=segmenter.model, image_processor=segmenter.processor.image_processor
            )
            settings = {**segmenter.loaded.thresholds, **self._worker.search}
            records = generator(images, batch_size=len(images), output_mode="uncompressed_rle", **settings)
            found = [everything_objects(one) for one in records]
        return [
            image_row(one.row, objects, (one.image.height, one.image.width))
            for one, objects in zip(rows, found, strict=True)
        ]


def read_content(content: Any) -> Image.Image:
    """Read an image from a path, an address, bytes of a file, or pixels: RGB, upright where it was a file.

    Raises:
        ValueError, TypeError, OSError: it cannot be read.
    """
    if isinstance(content, (bytes, bytearray, memoryview)):
        content = Image.open(io.BytesIO(bytes(content)))
        content.load()
        ImageOps.exif_transpose(content, in_place=True)
    found = read_images(content, as_tensors=False)
    if len(found) != 1:
        raise ValueError(f"a row must have one image, got {len(found)}")
    return Image.fromarray(found[0].as_bytes().transpose(1, 2, 0))


def _row_error(error: Exception, row: Row) -> str:
    if is_machine_failure(error):
        raise MachineError(f"the machine failed: {describe(error)}") from error
    return describe(error, names_of(row))
