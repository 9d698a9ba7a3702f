"""The work of `sam2 everything`: clips one after the other, and what is reported of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm

from ..everything.everything_tracker import EverythingTracker
from ..results.image_result import ImageResult
from ..results.overlay import read_style
from ..results.records import ImageRecord
from ..results.stream_writers import ResultStream
from ..video_io.open_video import VideoSource, open_video
from . import sources
from .interruption import Interruption
from .main import FAILED, INTERRUPTED, describe
from .sources import NamedSource, free_name

_SUFFIXES = {"mp4": ".mp4", "coco": ".json", "csv": ".csv", "parquet": ".parquet", "davis": "_davis"}
_MOST_LINES = 20


@dataclass(frozen=True)
class EverythingJob:
    """What is done with each clip.

    Attributes:
        backward: whether objects are followed back.
        stream: whether frames are written as they are tracked.
        frames: how many frames at most; None for all.
        out: the folder that files are written to.
        formats: names of formats.
        style: of overlays.
        as_json: whether the report is JSON.
        quiet: whether neither progress nor notices are shown.
    """

    backward: bool
    stream: bool
    frames: int | None
    out: Path
    formats: Sequence[str]
    style: str
    as_json: bool
    quiet: bool


def find_everything(job: EverythingJob, texts: Sequence[str], settings: dict[str, Any]) -> None:
    """Find and track everything in clips, write files and report.

    Args:
        job: what is done with each clip.
        texts: what stands for clips, see `sources.find_clips`.
        settings: arguments of `EverythingTracker`.

    Raises:
        typer.Exit: it was interrupted, or one of several clips could not be tracked.
        ValueError, TypeError, LookupError, OSError: naming what is wrong.
    """
    read_style(job.style, {})
    clips = sources.find_clips(texts)
    report: list[dict[str, Any]] = []
    taken: set[str] = set()
    tracker = EverythingTracker(**settings)
    with Interruption() as interruption:
        for clip in clips:
            try:
                with open_video(clip.source) as source:
                    entry = _track(tracker, source, clip, free_name(clip.stem, taken), job, interruption)
            except (ValueError, TypeError, LookupError, OSError) as error:
                if len(clips) == 1:
                    raise
                typer.echo(f"error: {clip.text}: {describe(error)}", err=True)
                entry = {"clip": clip.text, "error": describe(error)}
            report.append(entry)
            if not job.as_json and "error" not in entry:
                typer.echo(_as_text(entry))
            if interruption.wanted:
                break
    if job.as_json:
        typer.echo(json.dumps(report, indent=2, default=str))
    if interruption.wanted:
        raise typer.Exit(INTERRUPTED)
    if any("error" in entry for entry in report):
        raise typer.Exit(FAILED)


def _track(
    tracker: EverythingTracker,
    source: VideoSource,
    clip: NamedSource,
    name: str,
    job: EverythingJob,
    interruption: Interruption,
) -> dict[str, Any]:
    files = [job.out / f"{name}{_SUFFIXES[format]}" for format in job.formats]
    sources.refuse_to_overwrite(clip.source, files)
    if job.backward and not source.seekable:
        raise ValueError("a stream can only be tracked forward: leave out --backward")
    job.out.mkdir(parents=True, exist_ok=True)
    names: list[Hashable] = []
    results: Iterator[ImageResult]
    if job.stream or not source.seekable:
        results = _until(tracker.stream(source), job, interruption)
    else:
        found = tracker.track(source, job.backward, job.frames, not job.quiet, lambda: interruption.wanted)
        results, names = iter(found), found.names
    summary = Summary()
    written = ResultStream(results, names, source.fps, name).save(summary, *files, style=job.style)
    height, width = source.size
    return {
        "clip": clip.text,
        "width": width,
        "height": height,
        "frames": written,
        "interrupted": interruption.wanted,
        "objects": summary.objects(),
        "files": [str(file) for file in files],
    }


def _until(frames: Iterator[ImageResult], job: EverythingJob, interruption: Interruption) -> Iterator[ImageResult]:
    """Take frames until there are enough, or Ctrl-C."""
    with tqdm(total=job.frames, unit="frame", disable=job.quiet) as bar:
        for frame in itertools.islice(frames, job.frames):
            yield frame
            bar.update()
            if interruption.wanted:
                break


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
        f"{entry['clip']}: {entry['frames']} frames{state}, {len(objects)} objects -> "
        f"{', '.join(entry['files']) or 'no files'}"
    ]
    lines += [
        f"  {item['name']}: from frame {item['first_frame']}, visible in {item['visible_frames']} frames"
        for item in objects[:_MOST_LINES]
    ]
    if len(objects) > _MOST_LINES:
        lines.append(f"  ... and {len(objects) - _MOST_LINES} more")
    return "\n".join(lines)
