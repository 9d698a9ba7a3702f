"""The work of `sam2 track`: prompted objects through clips, written while they are tracked where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from .clip_jobs import ClipJob, ClipWork, counted, one_by_one, read_clip_list, work_on_clips
from .engines import load_tracker


def track_clips(
    job: ClipJob,
    prompts: dict[Hashable, Any],
    texts: Sequence[str],
    paths_from: str | None,
    loading: dict[str, Any],
) -> None:
    """Track through clips and report.

    Args:
        job: what is done with each.
        prompts: those of `Tracker.track`.
        texts: what stands for clips, see `sources.find_clips`.
        paths_from: a list of further ones, see `sources.read_paths`.
        loading: from `prepare_engine`, and `memory_policy`.

    Raises:
        typer.Exit: it was interrupted, or one of several clips could not be tracked.
        ValueError, TypeError, LookupError, OSError: naming what is wrong.
    """
    read_style(job.style, {})
    read_clip_prompts(prompts)
    clips = read_clip_list(texts, paths_from)
    tracker = load_tracker(loading)

    def track(work: ClipWork, batched: Tracker = tracker) -> dict[str, Any]:
        return _track(batched, work, prompts)

    def together(work: Callable[[Any, Tracker], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        from ..predictors.together import TogetherTracker

        return TogetherTracker(tracker, job.together).map(lambda batched, item: work(item, batched), items)

    work_on_clips(job, clips, track, _as_text, together if job.together > 1 else one_by_one)


def _track(tracker: Tracker, work: ClipWork, prompts: dict[Hashable, Any]) -> dict[str, Any]:
    job, source = work.job, tracker.open_video(work.source)
    files = work.files()
    summary = _Summary(list(prompts))
    limits = [limit for limit in (source.num_frames, job.frames) if limit is not None]
    total = min(limits) if limits else None
    earliest, latest = _starts(prompts)
    # What is prompted late is followed back, so frames are final when all have been tracked.
    if source.seekable and latest:
        tracks = Tracks(tracker, source, work.name)
        tracks.add(prompts)
        for _ in work.until_stopped(tracks.steps(frames=job.frames), _steps(len(source), earliest, latest, job.frames)):
            pass
        results: Iterator[ImageResult] = iter(tracks)
    else:
        results = work.until_stopped(tracker.stream(source, prompts), total)
    stream = ResultStream(results, list(prompts), source.fps, work.name)
    writers = [_writer(format, file, stream) for format, file in files.items() if format != "mp4"]
    videos = [files["mp4"]] if "mp4" in files else []
    written = stream.save(summary, *writers, *videos, style=job.style)
    return work.report(written, summary.objects(), files)


def _steps(num_frames: int, earliest: int, latest: int, most: int | None) -> int:
    """How many steps there are onward from the earliest prompted frame, and back from the latest.

    The way back ends at the start of the clip; where there are to be at most so many frames, at the earliest prompt.
    """
    if most is None:
        return num_frames - earliest + latest
    onward = min(most, num_frames - earliest)
    return onward + max(0, min(latest - earliest, onward))


def _starts(prompts: Mapping[Hashable, Any]) -> tuple[int, int]:
    """The frames of the objects that are prompted first and last, by their first prompts."""
    starts: dict[Hashable, int] = {}
    for frame, prompted in read_clip_prompts(prompts).items():
        for prompt in prompted:
            starts[prompt.name] = min(frame, starts.get(prompt.name, frame))
    return min(starts.values()), max(starts.values())


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
    lines = [
        f"{entry['clip']}: {counted(entry['frames'], 'frame')}{state} -> {', '.join(entry['files']) or 'no files'}"
    ]
    lines += [
        f"  {item['name']}: visible in {counted(item['visible_frames'], 'frame')}, mean score {item['mean_score']}"
        for item in entry["objects"]
    ]
    return "\n".join(lines)
