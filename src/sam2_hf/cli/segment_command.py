"""`sam2 segment`: objects in images."""

from __future__ import annotations

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
    Negatives,
    Out,
    PathsFrom,
    Points,
    Quiet,
    Style,
)
from .engines import prepare_engine

FORMATS = ("png", "coco", "csv", "parquet", "yolo", "geojson", "labels", "cutout")


def segment(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", help="Files, folders, patterns, addresses, or - for the standard input."),
    ] = None,
    point: Points = None,
    negative: Negatives = None,
    box: Annotated[
        list[str] | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around an object. Repeatable.")
    ] = None,
    prompts: From = None,
    everything: Annotated[bool, typer.Option("--everything", help="Segment everything, by a grid of points.")] = False,
    points_per_side: Annotated[int, typer.Option(min=1, help="Of the grid, for --everything.")] = 32,
    tile_size: Annotated[
        int | None, typer.Option(min=1, help="Read large images in tiles of so many pixels a side.")
    ] = None,
    tile_overlap: Annotated[
        int | None,
        typer.Option(min=0, help="Pixels that tiles share, for --everything; by default 256."),
    ] = None,
    tile_levels: Annotated[
        int | None,
        typer.Option(min=1, help="Levels of tiles, for --everything; all by default."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="A folder that keeps embeddings of tiles for later calls, with prompts.")
    ] = None,
    paths_from: PathsFrom = None,
    out: Out = Path("outputs"),
    format: Annotated[
        str, typer.Option(metavar="NAMES", help=f"With commas between them: {', '.join(FORMATS)}.")
    ] = "png",
    style: Style = "fill",
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    engine: Engine = "torch",
    json_output: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Segment objects in images, and write overlays and files for other tools.

    All points are on one object. With one box they share it; several boxes are several objects. Several objects by
    name are given by --from. An image that cannot be read is reported, and the others go on.
    """
    texts = arguments.require(images, paths_from, "IMAGE")
    _check_tiling(everything, tile_size, {"--tile-overlap": tile_overlap, "--tile-levels": tile_levels}, cache)
    formats = arguments.read_formats(format, FORMATS)
    if everything and (point or negative or box or prompts):
        raise typer.BadParameter(
            "needs no prompts: leave out --point, --negative, --box and --from", param_hint="--everything"
        )
    given = {} if everything else _read_prompts(point, negative, box, prompts)
    loading = arguments.loading_settings(checkpoint, device, dtype, image_size)
    loading = prepare_engine(engine, loading, quiet)
    from .segment_images import SegmentJob, segment_images

    search: dict[str, Any] = {"points_per_crop": points_per_side, "tile_size": tile_size, "tile_levels": tile_levels}
    if tile_size is not None:
        search["tile_overlap"] = min(256, tile_size // 4) if tile_overlap is None else tile_overlap
    tiling = {"tile_size": tile_size, "cache": cache}
    job = SegmentJob(given, everything, search, tiling, out, formats, style, json_output, quiet)
    segment_images(job, texts, paths_from, loading)


def _check_tiling(
    everything: bool, tile_size: int | None, searching: dict[str, int | None], cache: Path | None
) -> None:
    given = [name for name, value in searching.items() if value is not None]
    if given and (tile_size is None or not everything):
        raise typer.BadParameter("works with --everything and --tile-size", param_hint=given[0])
    if cache is not None and (tile_size is None or everything):
        raise typer.BadParameter("works with prompts and --tile-size", param_hint="--cache")


def _read_prompts(
    point: list[str] | None, negative: list[str] | None, box: list[str] | None, prompts: Path | None
) -> dict[str, Any]:
    """The prompts as `Segmenter.segment` takes them."""
    points, labels = arguments.read_points(point, negative)
    boxes = [arguments.read_numbers(text, 4, "--box") for text in box or ()]
    if prompts is not None:
        if points or boxes:
            raise typer.BadParameter("stands instead of --point, --negative and --box", param_hint="--from")
        return _by_kind(arguments.read_prompt_file(prompts))
    if points and len(boxes) > 1:
        raise typer.BadParameter("points belong to one object: give one box, or --from", param_hint="--box")
    if not points and not boxes:
        raise typer.BadParameter("give --point, --box, --from or --everything", param_hint="PROMPTS")
    given: dict[str, Any] = {"points": points, "labels": labels} if points else {}
    if boxes:
        given["boxes"] = boxes[0] if points else boxes
    return given


def _by_kind(prompts: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {}
    names = {"points": "points", "labels": "labels", "box": "boxes"}
    for name, fields in prompts.items():
        for key, value in (fields if isinstance(fields, dict) else {"points": fields}).items():
            if key not in names:
                raise ValueError(f"the prompt of {name!r} may have {', '.join(names)}, got {key}")
            if value is not None:
                kinds.setdefault(names[key], {})[name] = value
    return kinds
