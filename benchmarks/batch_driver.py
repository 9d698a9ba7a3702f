"""A driver whose workers need no model: the start and the work of a process are short, so many can be killed.

    python -m benchmarks.batch_driver rows out 2

The masks are what is brighter than the mean. All else is that of `sam2_hf.scale.run`: division, processes, files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sam2_hf.results.records import ImageRecord, ObjectMask, encode_masks
from sam2_hf.scale import Worker, run
from sam2_hf.scale.failures import describe
from sam2_hf.scale.result_table import clip_rows, error_row, image_row
from sam2_hf.scale.rows import CLIP, Row, names_of
from sam2_hf.video_io.open_video import open_video

ROWS_A_SHARD = 25


@dataclass(frozen=True)
class ThresholdWorker(Worker):
    """Finds what is brighter than the mean of an image or frame."""

    def __post_init__(self) -> None:
        """Check nothing: there are no settings."""

    def prepare_process(self, threads: int) -> None:
        """Load nothing."""

    def compute(self, rows: Iterable[Row]) -> Iterator[list[dict[str, Any]]]:
        """Compute rows one after the other."""
        for row in rows:
            try:
                yield _clip(row) if row.kind == CLIP else _image(row)
            except Exception as error:  # of decoders
                yield [error_row(row, describe(error, names_of(row)))]


def _image(row: Row) -> list[dict[str, Any]]:
    with Image.open(row.content) as image:
        return [image_row(row, _objects(np.asarray(image)), (image.height, image.width))]


def _clip(row: Row) -> list[dict[str, Any]]:
    with open_video(row.content, prefetch=0) as clip:
        found = (_objects(frame.permute(1, 2, 0).numpy()) for _, frame in clip.iterate())
        records = (ImageRecord(objects, clip.size, frame=number) for number, objects in enumerate(found))
        return list(clip_rows(row, records, clip.fps))


def _objects(pixels: np.ndarray) -> list[ObjectMask]:
    grey = pixels.mean(-1)
    return [ObjectMask(1, encode_masks((grey > grey.mean())[None])[0], 0.5)]


def main(arguments: list[str]) -> int:
    """Run over a folder; the arguments are the folder, the one of the run, and the number of workers."""
    source, out, workers = arguments
    worker = ThresholdWorker(device="cpu")
    summary = run(source, out, worker, rows_a_shard=ROWS_A_SHARD, workers=int(workers), max_attempts=1000)
    return 0 if summary.is_complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
