"""`sam2 track`: objects through clips or from a camera."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any

import typer

from . import arguments
from .arguments import (
    AsJson,
    Checkpoint,
    Device,
    Dtype,
    Engine,
    From,
    ImageSize,
    MemoryPolicy,
    Negatives,
    Out,
    PathsFrom,
    Points,
    Quiet,
    Style,
)
from .engines import prepare_engine

FORMATS = ("mp4", "coco", "csv", "parquet", "davis", "sa-v")


def track(
    clips: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CLIP",
            help="Files, folders, patterns, addresses, the number of a camera, or - for the standard input.",
        ),
    ] = None,
    id: Annotated[str, typer.Option(help="The object's name.")] = "object",
    frame: Annotated[int, typer.Option(min=0, help="The frame that the points and the box are on, from 0.")] = 0,
    point: Points = None,
    negative: Negatives = None,
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.")] = None,
    prompts: From = None,
    frames: Annotated[int | None, typer.Option(min=1, help="How many frames, at most.")] = None,
    together: Annotated[
        int, typer.Option(min=1, help="How many clips or cameras are tracked at a time, in one batch.")
    ] = 1,
    paths_from: PathsFrom = None,
    out: Out = Path("outputs"),
    format: Annotated[
        str, typer.Option(metavar="NAMES", help=f"With commas between them: {', '.join(FORMATS)}.")
    ] = "mp4",
    style: Style = "fill",
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    engine: Engine = "torch",
    memory_policy: MemoryPolicy = None,
    json_output: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Track objects through clips, and write them with overlays and files for other tools.

    Several objects, and prompts on several frames, are given by --from. Frames are written as they are tracked, in
    constant memory; where an object is prompted after the first frame, it is followed back, and files are written at
    the end. Ctrl-C leaves what is finished.
    """
    texts = arguments.require(clips, paths_from, "CLIP")
    formats = arguments.read_formats(format, FORMATS)
    given = _read_prompts(id, frame, point, negative, box, prompts)
    loading = arguments.loading_settings(checkpoint, device, dtype, image_size) | {"memory_policy": memory_policy}
    loading = prepare_engine(engine, loading, quiet)
    if engine == "onnx" and together > 1:
        raise typer.BadParameter("needs the engine torch", param_hint="--together")
    from .clip_jobs import ClipJob
    from .track_clips import track_clips

    job = ClipJob(frames, out, formats, style, json_output, quiet, together)
    track_clips(job, given, texts, paths_from, loading)


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
