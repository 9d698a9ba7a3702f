"""Clips, one session after the other or several in one batch."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..everything.everything_tracker import EverythingTracker
from ..predictors.together import TogetherTracker
from ..predictors.tracker import Tracker, Tracks
from ..results.records import ImageRecord
from ..video_io.open_video import VideoSource, open_video
from .failures import MachineError, describe, is_machine_failure
from .result_table import clip_rows, error_row
from .row_prompts import PromptsByFrame, for_tracker
from .rows import Row, names_of

if TYPE_CHECKING:
    from .worker_settings import WorkerSettings

_ROWS_AT_ONCE = 64


def track_rows(worker: WorkerSettings, rows: Sequence[Row]) -> Iterator[list[dict[str, Any]]]:
    """Track through clips, several at a time where the worker says so.

    Args:
        worker: says how.
        rows: clips with prompts, and rows that cannot be used; those that are tracked together are kept until all are.

    Returns:
        Rows of the table, in the order of the clips.

    Raises:
        MachineError: the machine failed.
        OSError: the checkpoint cannot be found.
    """
    if worker.clips_together == 1 or len(rows) == 1:
        for row in rows:
            yield from track_row(worker, row)
        return

    def track(batched: Tracker, row: Row) -> list[dict[str, Any]]:
        return [values for part in track_row(worker, row, batched) for values in part]

    tracker = Tracker(**worker.loading(is_clip=True))
    found: list[list[dict[str, Any]]] = [[] for _ in rows]
    for number, outcome in TogetherTracker(tracker, worker.clips_together).map(track, rows):
        if isinstance(outcome, Exception):
            raise outcome
        found[number] = outcome
    yield from found


def track_row(worker: WorkerSettings, row: Row, tracker: Tracker | None = None) -> Iterator[list[dict[str, Any]]]:
    """Track through a clip.

    Args:
        worker: says how.
        row: the clip, or a row that cannot be used.
        tracker: tracks it; by default one of the worker's settings.

    Returns:
        Rows of the table, some frames at a time. Where a clip fails in the middle, its frames so far come before the
        row with the error.

    Raises:
        MachineError: the machine failed.
        OSError: the checkpoint cannot be found.
    """
    if row.error:
        yield [error_row(row, row.error)]
        return
    tracker = tracker or Tracker(**worker.loading(is_clip=True))
    waiting: list[dict[str, Any]] = []
    with _as_video(row.content) as (content, renamed):
        try:
            for values in _track(worker, tracker, row, content):
                waiting.append(values)
                if len(waiting) == _ROWS_AT_ONCE:
                    yield waiting
                    waiting = []
        except Exception as error:  # decoders raise errors of many kinds
            if is_machine_failure(error):
                raise MachineError(f"the machine failed: {describe(error)}") from error
            waiting.append(error_row(row, describe(error, names_of(row) | renamed)))
    if waiting:
        yield waiting


def _track(worker: WorkerSettings, tracker: Tracker, row: Row, content: Any) -> Iterator[dict[str, Any]]:
    prompts = worker.prompts_of(row)
    with open_video(content) as source:
        if prompts is None:
            settings = {**worker.clip_search}
            everything = EverythingTracker(**worker.loading(is_clip=True), **settings)
            records = everything.track(source, frames=worker.frames).records()
        else:
            records = _prompted(tracker, source, prompts, worker.frames)
        yield from clip_rows(row, records, source.fps)


def _prompted(
    tracker: Tracker, source: VideoSource, prompts: PromptsByFrame, frames: int | None
) -> Iterator[ImageRecord]:
    """Frames as they are tracked; where an object is prompted late, it is followed back, and frames come at the end."""
    if not source.seekable or set(prompts) == {0}:
        with_pixels = tracker.stream(source, for_tracker(prompts))
        yield from (result.record for result in itertools.islice(with_pixels, frames))
        return
    tracks = Tracks(tracker, source)
    tracks.add(for_tracker(prompts))
    for _ in tracks.steps(frames=frames):
        pass
    yield from tracks.records()


@contextmanager
def _as_video(content: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """What `open_video` takes; bytes lie in a temporary file meanwhile, whose name errors do not tell."""
    if not isinstance(content, (bytes, bytearray, memoryview)):
        yield content, {}
        return
    handle, path = tempfile.mkstemp(prefix="sam2-", suffix=".video")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield path, {path: "the clip"}
    finally:
        os.unlink(path)
