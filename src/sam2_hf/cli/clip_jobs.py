"""What the commands for clips share: one clip after the other or several at a time, a report of them, and an end by
Ctrl-C."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer
from tqdm import tqdm

from ..results.file_names import free_name
from ..tracking.attempts import attempt
from ..video_io.open_video import VideoSource, open_video
from .interruption import Interruption
from .main import FAILED, INTERRUPTED, describe
from .sources import NamedSource, find_clips, read_paths, refuse_to_overwrite

Item = TypeVar("Item")
Value = TypeVar("Value")

SUFFIXES = {
    "mp4": ".mp4",
    "coco": ".json",
    "csv": ".csv",
    "parquet": ".parquet",
    "davis": "_davis",
    "sa-v": "_manual.json",
}


@dataclass(frozen=True)
class ClipJob:
    """What is done with each clip.

    Attributes:
        frames: how many frames at most; None for all.
        out: the folder that files are written to.
        formats: names of formats, keys of `SUFFIXES`.
        style: of overlays.
        as_json: whether the report is JSON.
        quiet: whether neither progress nor notices are shown.
        together: how many clips are worked on at a time.
    """

    frames: int | None
    out: Path
    formats: Sequence[str]
    style: str
    as_json: bool
    quiet: bool
    together: int = 1


def counted(number: int, what: str) -> str:
    """Say how many there are: 1 frame, 2 frames."""
    return f"{number} {what}{'s' * (number != 1)}"


@dataclass(frozen=True)
class ClipWork:
    """A clip that is open, and what the work on it needs.

    Attributes:
        job: what is done with it.
        clip: as the user named it.
        source: its frames.
        name: for the files that are written.
        interruption: whether to stop.
    """

    job: ClipJob
    clip: NamedSource
    source: VideoSource
    name: str
    interruption: Interruption

    def files(self) -> dict[str, Path]:
        """Name the file of each format, and make the folder that they go into.

        Raises:
            ValueError: one of them is the clip.
        """
        files = {format: self.job.out / f"{self.name}{SUFFIXES[format]}" for format in self.job.formats}
        refuse_to_overwrite(self.clip.source, list(files.values()))
        self.job.out.mkdir(parents=True, exist_ok=True)
        return files

    def until_stopped(self, items: Iterator[Item], total: int | None) -> Iterator[Item]:
        """Take items until there are `total`, or Ctrl-C; a bar shows the rate and the time left."""
        name = self.name if self.job.together > 1 else None
        with tqdm(total=total, unit="frame", disable=self.job.quiet, desc=name) as bar:
            for item in itertools.islice(items, total):
                yield item
                bar.update()
                if self.interruption.wanted:
                    break

    def report(self, written: int, objects: list[dict[str, Any]], files: dict[str, Path]) -> dict[str, Any]:
        """Say what has been done.

        Args:
            written: how many frames.
            objects: a description of each object.
            files: those that were written, by their formats.
        """
        height, width = self.source.size
        return {
            "clip": self.clip.text,
            "width": width,
            "height": height,
            "frames": written,
            "interrupted": self.interruption.wanted,
            "objects": objects,
            "files": [str(file) for file in files.values()],
        }


def read_clip_list(texts: Sequence[str], paths_from: str | None) -> list[NamedSource]:
    """Find the clips that a command is given, see `find_clips` and `read_paths`.

    Raises:
        ValueError: there are none.
    """
    clips = find_clips([*texts, *read_paths(paths_from)])
    if not clips:
        raise ValueError("the list of clips is empty")
    return clips


def one_by_one(function: Callable[[Item], Value], items: Sequence[Item]) -> Iterator[tuple[int, Value | Exception]]:
    """Call a function with each item; the numbers of the items with what it returned or raised."""
    return ((number, attempt(function, item)) for number, item in enumerate(items))


def work_on_clips(
    job: ClipJob,
    clips: Sequence[NamedSource],
    do: Callable[..., dict[str, Any]],
    as_text: Callable[[dict[str, Any]], str],
    in_turn: Callable[..., Iterator[tuple[int, Any]]] = one_by_one,
) -> None:
    """Work on clips and report.

    Args:
        job: what is done with each.
        clips: the clips.
        do: the work on a `ClipWork`; returns its report.
        as_text: turns a report into lines for people.
        in_turn: calls a function with each of several items; see `one_by_one`. What it calls the function with beside
            the item goes to `do` as well.

    Raises:
        typer.Exit: it was interrupted, or one of several clips failed.
        ValueError, TypeError, LookupError, OSError: the only clip failed; naming what is wrong.
    """
    report: dict[int, dict[str, Any]] = {}
    taken: set[str] = set()
    named = [(clip, free_name(clip.stem, taken)) for clip in clips]
    with Interruption() as interruption:

        def work(item: tuple[NamedSource, str], *more: Any) -> dict[str, Any] | None:
            clip, name = item
            if interruption.wanted:
                return None
            with open_video(clip.source) as source:
                return do(ClipWork(job, clip, source, name, interruption), *more)

        for number, entry in in_turn(work, named):
            if isinstance(entry, Exception):
                if len(clips) == 1 or not isinstance(entry, (ValueError, TypeError, LookupError, OSError)):
                    raise entry
                typer.echo(f"error: {clips[number].text}: {describe(entry)}", err=True)
                report[number] = {"clip": clips[number].text, "error": describe(entry)}
            elif entry is not None:
                report[number] = entry
                if not job.as_json:
                    typer.echo(as_text(entry))
    entries = [report[number] for number in sorted(report)]
    if job.as_json:
        typer.echo(json.dumps(entries, indent=2, default=str))
    if interruption.wanted:
        raise typer.Exit(INTERRUPTED)
    if any("error" in entry for entry in entries):
        raise typer.Exit(FAILED)
