"""`sam2 track`: objects through a clip or from a camera."""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tqdm import tqdm

from ..predictors.tracker import Tracker, Tracks
from ..results.clip_result import DEFAULT_FPS, ClipResult, overlaid_frames
from ..results.image_result import ImageResult
from ..results.overlay import read_style
from ..results.stream_writers import write_csv_rows, write_label_map_files
from ..video_io.open_video import VideoSource, open_video
from ..video_io.write_video import write_video
from . import arguments
from .arguments import AsJson, Checkpoint, Device, Dtype, From, ImageSize, Negatives, Out, Points, Quiet, Style

FORMATS = ("mp4", "coco", "csv", "davis", "sa-v")
INTERRUPTED = 130


def track(
    clip: Annotated[str, typer.Argument(help="A file, a folder of images, an address, or the number of a camera.")],
    id: Annotated[str, typer.Option(help="The object's name.")] = "object",
    frame: Annotated[int, typer.Option(help="The frame that the points and the box are on, from 0.")] = 0,
    point: Points = None,
    negative: Negatives = None,
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.")] = None,
    prompts: From = None,
    frames: Annotated[int | None, typer.Option(help="For a camera or a stream: how many frames.")] = None,
    out: Out = Path("outputs"),
    format: Annotated[str, typer.Option(help=f"With commas between them: {', '.join(FORMATS)}.")] = "mp4",
    style: Style = "fill",
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    memory_policy: Annotated[
        str | None, typer.Option(help="Which memories are read: sam2, visible or another; the checkpoint's by default.")
    ] = None,
    json_output: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Track objects through a clip, and write it with overlays and files for other tools.

    Several objects, and prompts on several frames, are given by --from. Ctrl-C leaves what is finished.
    """
    arguments.be_quiet(quiet)
    formats = arguments.read_formats(format, FORMATS)
    given = _read_prompts(id, frame, point, negative, box, prompts)
    source = open_video(int(clip) if clip.isdigit() else clip)
    name = f"camera{clip}" if clip.isdigit() else Path(clip.split("?")[0]).stem or "clip"
    tracker = Tracker(checkpoint, device, dtype, arguments.read_image_size(image_size), memory_policy)
    out.mkdir(parents=True, exist_ok=True)
    with source:
        if not source.seekable:
            _track_stream(tracker, source, given, out / f"{name}.mp4", formats, style, frames, quiet)
            return
        tracks = Tracks(tracker, source, name)
        tracks.add(given)
        interrupted = False
        try:
            tracks.run(progress=not quiet)
        except KeyboardInterrupt:
            interrupted = True
        files = _write(tracks, out / name, formats, style) if len(tracks) else []
    report = _describe(tracks, clip, files, interrupted)
    typer.echo(json.dumps(report, indent=2, default=str) if json_output else _as_text(report))
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _read_prompts(
    name: str, frame: int, point: list[str] | None, negative: list[str] | None, box: str | None, prompts: Path | None
) -> dict[Hashable, Any]:
    points, labels = arguments.read_points(point, negative)
    if prompts is not None:
        if points or box:
            raise typer.BadParameter("stands instead of --point, --negative and --box", param_hint="--from")
        return dict(arguments.read_prompt_file(prompts).items())
    if not points and box is None:
        raise typer.BadParameter("give --point, --box or --from", param_hint="PROMPTS")
    given: dict[str, Any] = {"frame": frame}
    if points:
        given |= {"points": points, "labels": labels}
    if box is not None:
        given["box"] = arguments.read_numbers(box, 4, "--box")
    return {name: given}


def _track_stream(
    tracker: Tracker,
    source: VideoSource,
    given: Mapping[Hashable, Any],
    path: Path,
    formats: list[str],
    style: str,
    frames: int | None,
    quiet: bool,
) -> None:
    """Track and write frame by frame, in constant memory."""
    unfit = [name for name in formats if name not in ("mp4", "csv", "davis")]
    if unfit:
        raise typer.BadParameter(
            f"a stream is written as mp4, csv or davis, got {', '.join(unfit)}", param_hint="--format"
        )
    results: Iterator[ImageResult] = itertools.islice(tracker.stream(source, given), frames)
    results = iter(tqdm(results, total=frames, unit="frame", disable=quiet))
    if "csv" in formats:
        results = write_csv_rows(results, path.with_suffix(".csv"))
    if "davis" in formats:
        results = write_label_map_files(results, path.with_name(f"{path.stem}_davis"), list(given))
    try:
        if "mp4" in formats:
            drawn = overlaid_frames(results, read_style(style, {}), list(given))
            write_video(path, drawn, fps=source.fps or DEFAULT_FPS)
        else:
            for _ in results:
                pass
    except KeyboardInterrupt:
        typer.echo(f"interrupted -> {path}")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"-> {path}")


def _write(tracks: ClipResult, path: Path, formats: list[str], style: str) -> list[str]:
    """Write tracks in all formats; the files."""
    files: list[Path] = []
    for name in formats:
        if name == "sa-v":
            files.append(Path(f"{path}_manual.json"))
            tracks.to_sa_v(files[-1])
        else:
            suffix = {"mp4": ".mp4", "coco": ".json", "csv": ".csv", "davis": ""}[name]
            options = {"style": style} if name == "mp4" else {}
            files.append(tracks.save(f"{path}{suffix}" if suffix else path.with_name(f"{path.name}_davis"), **options))
    return [str(file) for file in files]


def _describe(tracks: ClipResult, clip: str, files: list[str], interrupted: bool) -> dict[str, Any]:
    height, width = tracks.size
    objects = [
        {"name": name, "visible_frames": sum(tracks.visible(name)), "mean_score": _mean_score(tracks, name)}
        for name in tracks.names
    ]
    return {
        "clip": clip,
        "width": width,
        "height": height,
        "frames": len(tracks),
        "interrupted": interrupted,
        "objects": objects,
        "files": files,
    }


def _mean_score(tracks: ClipResult, name: Hashable) -> float | None:
    scores = [result[name].score or 0.0 for result in tracks if name in result.names]
    return round(float(np.mean(scores)), 4) if scores else None


def _as_text(report: dict[str, Any]) -> str:
    state = " (interrupted)" if report["interrupted"] else ""
    lines = [f"{report['clip']}: {report['frames']} frames{state} -> {', '.join(report['files']) or 'no files'}"]
    lines += [
        f"  {item['name']}: visible in {item['visible_frames']} frames, mean score {item['mean_score']}"
        for item in report["objects"]
    ]
    return "\n".join(lines)
