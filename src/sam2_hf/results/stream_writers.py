"""Writers for clips and streams of any length: each takes frames, writes them, and hands them on.

They are chained, so that one pass writes several files in constant memory:

    frames = write_csv_rows(tracker.stream(video, prompts), "out.csv")
    write_video("out.mp4", overlaid_frames(frames, OverlayStyle()))

A run that is interrupted leaves what was written until then.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path

from .image_result import ImageResult
from .label_maps import label_map, write_label_map
from .tables import COLUMNS, table_rows


def write_csv_rows(results: Iterable[ImageResult], path: str | os.PathLike[str]) -> Iterator[ImageResult]:
    """Write a table while frames pass.

    Args:
        results: frames of a clip or stream.
        path: the file.

    Returns:
        The same frames, each after its rows are in the file.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for result in results:
            writer.writerows(table_rows([result]))
            file.flush()
            yield result


def write_label_map_files(
    results: Iterable[ImageResult], folder: str | os.PathLike[str], names: Sequence[Hashable]
) -> Iterator[ImageResult]:
    """Write palette PNGs, as DAVIS and MOSE have them, while frames pass.

    Args:
        results: frames of a clip or stream.
        folder: where 00000.png, 00001.png, ... go, by the numbers of the frames.
        names: of all objects; an object's label is its position in them, from 1.

    Returns:
        The same frames, each after its file is written.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    for number, result in enumerate(results):
        index = number if result.frame is None else result.frame
        write_label_map(root / f"{index:05d}.png", label_map(result.objects, result.size, names))
        yield result
