"""The work of `sam2 everything`: objects that are found, tracked, written and reported."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..everything.everything_tracker import EverythingTracker
from ..results.image_result import ImageResult
from ..results.overlay import read_style
from ..results.records import ImageRecord
from ..results.stream_writers import ResultStream
from .clip_jobs import ClipJob, ClipWork, counted, read_clip_list, work_on_clips

_MOST_LINES = 20


def find_everything(
    job: ClipJob,
    texts: Sequence[str],
    paths_from: str | None,
    settings: dict[str, Any],
    backward: bool = False,
    stream: bool = False,
) -> None:
    """Find and track everything in clips, write files and report.

    Args:
        job: what is done with each clip.
        texts: what stands for clips, see `sources.find_clips`.
        paths_from: a list of further ones, see `sources.read_paths`.
        settings: arguments of `EverythingTracker`.
        backward: whether objects are followed back.
        stream: whether frames are written as they are tracked.

    Raises:
        typer.Exit: it was interrupted, or one of several clips could not be tracked.
        ValueError, TypeError, LookupError, OSError: naming what is wrong.
    """
    read_style(job.style, {})
    clips = read_clip_list(texts, paths_from)
    tracker = EverythingTracker(**settings)
    work_on_clips(job, clips, lambda work: _track(tracker, work, backward, stream), _as_text)


def _track(tracker: EverythingTracker, work: ClipWork, backward: bool, stream: bool) -> dict[str, Any]:
    job, source = work.job, work.source
    if backward and not source.seekable:
        raise ValueError("a stream can only be tracked forward: leave out --backward")
    files = work.files()
    names: list[Hashable] = []
    results: Iterator[ImageResult]
    if stream or not source.seekable:
        results = work.until_stopped(tracker.stream(source), job.frames)
    else:
        found = tracker.track(source, backward, job.frames, not job.quiet, lambda: work.interruption.wanted)
        results, names = iter(found), found.names
    summary = Summary()
    written = ResultStream(results, names, source.fps, work.name).save(summary, *files.values(), style=job.style)
    return work.report(written, summary.objects(), files)


@dataclass
class Summary:
    """Counts the frames that each object is visible in, in the order in which objects come."""

    frames: dict[Hashable, list[int]] = field(default_factory=dict)

    def write(self, record: ImageRecord) -> None:
        """Take a frame."""
        for item in record.objects:
            first_and_count = self.frames.setdefault(item.name, [record.frame or 0, 0])
            first_and_count[1] += item.visible

    def close(self) -> None:
        """Do nothing."""

    def objects(self) -> list[dict[str, Any]]:
        """Describe each object."""
        return [
            {"name": name, "first_frame": first, "visible_frames": count}
            for name, (first, count) in self.frames.items()
        ]


def _as_text(entry: dict[str, Any]) -> str:
    state = " (interrupted)" if entry["interrupted"] else ""
    objects = entry["objects"]
    lines = [
        f"{entry['clip']}: {counted(entry['frames'], 'frame')}{state}, {counted(len(objects), 'object')} -> "
        f"{', '.join(entry['files']) or 'no files'}"
    ]
    lines += [
        f"  {item['name']}: from frame {item['first_frame']}, visible in {counted(item['visible_frames'], 'frame')}"
        for item in objects[:_MOST_LINES]
    ]
    if len(objects) > _MOST_LINES:
        lines.append(f"  ... and {len(objects) - _MOST_LINES} more")
    return "\n".join(lines)
