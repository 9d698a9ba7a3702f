"""The work of `sam2 track`: clips one after the other, written while they are tracked where that is possible."""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import typer
from tqdm import tqdm

from ..predictors.tracker import Tracker, Tracks, read_clip_prompts
from ..results.coco import CocoWriter
from ..results.image_result import ImageResult
from ..results.label_maps import LabelMapWriter
from ..results.overlay import read_style
from ..results.record_writer import RecordWriter
from ..results.records import ImageRecord
from ..results.sa_v import SaVWriter
from ..results.stream_writers import ResultStream
from ..results.tables import CsvWriter, ParquetWriter
from ..video_io.open_video import VideoSource, open_video
from . import sources
from .interruption import Interruption
from .main import FAILED, INTERRUPTED, describe
from .sources import NamedSource, free_name

Item = TypeVar("Item")

_SUFFIXES = {
    "mp4": ".mp4",
    "coco": ".json",
    "csv": ".csv",
    "parquet": ".parquet",
    "davis": "_davis",
    "sa-v": "_manual.json",
}


@dataclass(frozen=True)
class TrackJob:
    """What is done with each clip.

    Attributes:
        prompts: those of `Tracker.track`.
        frames: how many frames at most; None for all.
        out: the folder that files are written to.
        formats: names of formats.
        style: of overlays.
        as_json: whether the report is JSON.
        quiet: whether neither progress nor notices are shown.
    """

    prompts: dict[Hashable, Any]
    frames: int | None
    out: Path
    formats: Sequence[str]
    style: str
    as_json: bool
    quiet: bool


def track_clips(
    job: TrackJob,
    texts: Sequence[str],
    paths_from: str | None,
    loading: dict[str, Any],
) -> None:
    """Track through clips and report.

    Args:
        job: what is done with each.
        texts: what stands for clips, see `sources.find_clips`.
        paths_from: a list of further ones, see `sources.read_paths`.
        loading: arguments of `Tracker`.

    Raises:
        typer.Exit: it was interrupted, or one of several clips could not be tracked.
        ValueError, TypeError, LookupError, OSError: naming what is wrong.
    """
    read_style(job.style, {})
    read_clip_prompts(job.prompts)
    clips = sources.find_clips([*texts, *sources.read_paths(paths_from)])
    if not clips:
        raise ValueError("the list of clips is empty")
    report: list[dict[str, Any]] = []
    taken: set[str] = set()
    tracker = Tracker(**loading)
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
    tracker: Tracker, source: VideoSource, clip: NamedSource, name: str, job: TrackJob, interruption: Interruption
) -> dict[str, Any]:
    files = {format: job.out / f"{name}{_SUFFIXES[format]}" for format in job.formats}
    sources.refuse_to_overwrite(clip.source, list(files.values()))
    job.out.mkdir(parents=True, exist_ok=True)
    summary = _Summary(list(job.prompts))
    limits = [limit for limit in (source.num_frames, job.frames) if limit is not None]
    total = min(limits) if limits else None
    # What is prompted late is followed back, so frames are final when all have been tracked.
    goes_back = source.seekable and bool(_latest_start(job.prompts))
    if goes_back:
        tracks = Tracks(tracker, source, name)
        tracks.add(job.prompts)
        for _ in _until(tracks.steps(), total, interruption, job.quiet):
            pass
        results: Iterator[ImageResult] = iter(tracks)
    else:
        results = _until(tracker.stream(source, job.prompts), total, interruption, job.quiet)
    stream = ResultStream(results, list(job.prompts), source.fps, name)
    writers = [_writer(format, file, stream) for format, file in files.items() if format != "mp4"]
    videos = [files["mp4"]] if "mp4" in files else []
    written = stream.save(summary, *writers, *videos, style=job.style)
    height, width = source.size
    return {
        "clip": clip.text,
        "width": width,
        "height": height,
        "frames": written,
        "interrupted": interruption.wanted,
        "objects": summary.objects(),
        "files": [str(file) for file in files.values()],
    }


def _latest_start(prompts: Mapping[Hashable, Any]) -> int:
    """The frame of the object that is prompted last, by its first prompt."""
    starts: dict[Hashable, int] = {}
    for frame, prompted in read_clip_prompts(prompts).items():
        for prompt in prompted:
            starts[prompt.name] = min(frame, starts.get(prompt.name, frame))
    return max(starts.values())


def _until(results: Iterator[Item], total: int | None, interruption: Interruption, quiet: bool) -> Iterator[Item]:
    """Take frames until there are enough, or Ctrl-C; a bar shows the rate and the time left."""
    with tqdm(total=total, unit="frame", disable=quiet) as bar:
        for result in itertools.islice(results, total):
            yield result
            bar.update()
            if interruption.wanted:
                break


def _writer(format: str, path: Path, stream: ResultStream) -> RecordWriter:
    if format == "sa-v":
        return SaVWriter(path, stream.names, stream.name, stream.fps)
    if format == "davis":
        return LabelMapWriter(path, stream.names)
    return {"coco": CocoWriter, "csv": CsvWriter, "parquet": ParquetWriter}[format](path)


@dataclass
class _Summary:
    """Counts, for each object, the frames that it is visible in, and averages its scores."""

    names: list[Hashable]
    visible: dict[Hashable, int] = field(default_factory=dict)
    scores: dict[Hashable, tuple[float, int]] = field(default_factory=dict)

    def write(self, record: ImageRecord) -> None:
        """Take a frame."""
        for item in record.objects:
            self.visible[item.name] = self.visible.get(item.name, 0) + item.visible
            total, count = self.scores.get(item.name, (0.0, 0))
            self.scores[item.name] = total + (item.score or 0.0), count + 1

    def close(self) -> None:
        """Do nothing."""

    def objects(self) -> list[dict[str, Any]]:
        """Describe each object."""
        return [
            {"name": name, "visible_frames": self.visible.get(name, 0), "mean_score": self._mean_score(name)}
            for name in self.names
        ]

    def _mean_score(self, name: Hashable) -> float | None:
        total, count = self.scores.get(name, (0.0, 0))
        return round(total / count, 4) if count else None


def _as_text(entry: dict[str, Any]) -> str:
    state = " (interrupted)" if entry["interrupted"] else ""
    lines = [f"{entry['clip']}: {entry['frames']} frames{state} -> {', '.join(entry['files']) or 'no files'}"]
    lines += [
        f"  {item['name']}: visible in {item['visible_frames']} frames, mean score {item['mean_score']}"
        for item in entry["objects"]
    ]
    return "\n".join(lines)
