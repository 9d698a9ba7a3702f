"""COCO and SA-V JSON from the shards of a run, in constant memory."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..results.coco import CocoWriter
from ..results.file_names import free_name
from ..results.record_writer import write_records
from ..results.records import ImageRecord, frame_file_name
from ..results.sa_v import SaVWriter
from .result_table import read_record
from .rows import CLIP, IMAGE
from .shard_store import ShardStore

FORMATS = ("coco", "sa-v")


def collect_coco(folder: str | os.PathLike[str], path: str | os.PathLike[str], as_polygons: bool = False) -> Path:
    """Write all results of a run as one COCO data set.

    Frames of clips are images called `clip/00000.jpg`, and `track_id` is the same for an object in all of its frames,
    and for no object of another clip. Rows that failed are left out.

    Args:
        folder: of the run.
        path: the file.
        as_polygons: outlines instead of run lengths.

    Returns:
        The path.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    path = Path(path)
    write_records(_records(ShardStore(folder)), CocoWriter(path, as_polygons))
    return path


def collect_sa_v(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> list[Path]:
    """Write the clips of a run as SA-V JSON: a file `{clip}_manual.json` for each.

    Args:
        folder: of the run.
        out: where the files go.

    Returns:
        The files.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    folder_of_files = Path(out)
    folder_of_files.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    written = []
    for clip, rows in _clips(ShardStore(folder)):
        records = [read_record(values) for values in rows]
        names = list(dict.fromkeys(item.name for record in records for item in record.objects))
        stem = free_name(_stem(clip), taken)
        written.append(folder_of_files / f"{stem}_manual.json")
        write_records(records, SaVWriter(written[-1], names, stem, rows[0]["fps"]))
    return written


def _records(store: ShardStore) -> Iterator[ImageRecord]:
    """Images and frames, with objects that are numbered anew over all clips."""
    store.job()
    tracks: dict[tuple[str, int], int] = {}
    for values in store.rows():
        if values["error"] is not None:
            continue
        record = read_record(values)
        if values["kind"] == IMAGE:
            yield record
            continue
        clip = values["id"]
        objects = [
            replace(item, extra={"track_id": tracks.setdefault((clip, item.extra["track_id"]), len(tracks) + 1)})
            for item in record.objects
        ]
        yield replace(record, objects=objects, file_name=frame_file_name(clip, values["frame"]))


def _clips(store: ShardStore) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Clips with the rows of their frames, one at a time."""
    store.job()
    for (clip, kind), rows in itertools.groupby(store.rows(), lambda values: (values["id"], values["kind"])):
        frames = [values for values in rows if values["error"] is None]
        if kind == CLIP and frames:
            yield clip, frames


def _stem(clip: str) -> str:
    """A file name for a clip: its own without the suffix, with nothing in it that file systems refuse."""
    return re.sub(r"[^\w.-]+", "_", re.sub(r"\.\w{1,5}$", "", clip)).strip("_.") or "clip"
