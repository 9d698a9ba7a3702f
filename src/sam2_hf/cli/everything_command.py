"""`sam2 everything`: all objects of clips, found and tracked without prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import arguments
from .arguments import AsJson, Checkpoint, Device, Dtype, ImageSize, MemoryPolicy, Out, PathsFrom, Quiet, Style

FORMATS = ("mp4", "coco", "csv", "parquet", "davis")


def everything(
    clips: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CLIP",
            help="Files, folders, patterns, addresses, the number of a camera, or - for the standard input.",
        ),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Frames between two searches for new objects.")] = 10,
    max_objects: Annotated[int, typer.Option(min=1, help="How many objects are tracked at once, at most.")] = 100,
    points_per_side: Annotated[int, typer.Option(min=1, help="Of the grid of points that are searched.")] = 16,
    backward: Annotated[
        bool, typer.Option("--backward", help="Follow objects back to where they first were visible.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write frames as they are tracked, in constant memory, as for a camera.")
    ] = False,
    frames: Annotated[int | None, typer.Option(min=1, help="How many frames, at most.")] = None,
    paths_from: PathsFrom = None,
    out: Out = Path("outputs"),
    format: Annotated[
        str, typer.Option(metavar="NAMES", help=f"With commas between them: {', '.join(FORMATS)}.")
    ] = "mp4",
    style: Style = "plain",
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    memory_policy: MemoryPolicy = None,
    json_output: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find and track everything in clips, and write them with overlays and files for other tools.

    Objects are numbered from 1. Ctrl-C leaves what is finished.
    """
    texts = arguments.require(clips, paths_from, "CLIP")
    formats = arguments.read_formats(format, FORMATS)
    loading = arguments.loading_settings(checkpoint, device, dtype, image_size)
    if backward and stream:
        raise typer.BadParameter("needs the whole clip: leave out --stream", param_hint="--backward")
    arguments.prepare_process(quiet)
    from .clip_jobs import ClipJob
    from .everything_clips import find_everything

    settings = {"every": every, "max_objects": max_objects, "points_per_crop": points_per_side}
    loading = loading | {"memory_policy": memory_policy}
    job = ClipJob(frames, out, formats, style, json_output, quiet)
    find_everything(job, texts, paths_from, loading | settings, backward, stream)
