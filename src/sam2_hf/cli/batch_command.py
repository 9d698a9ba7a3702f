"""`sam2 batch`: any number of images and clips, in processes or on a cluster, to Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from . import arguments
from .arguments import AsJson, Checkpoint, Device, Dtype, From, ImageSize, Quiet
from .interruption import Interruption

KINDS = ("auto", "image", "clip")


def batch(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, patterns, *.parquet, WebDataset shards (*.tar, {000..123}.tar), or dataset:NAME.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the run; the same one resumes it.")],
    kind: Annotated[str, typer.Option(help=f"Of what does not tell it: {', '.join(KINDS)}.")] = "auto",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="What a column of the table is called, as image=photo. Repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="Of a data set.")] = "train",
    prompts: From = None,
    points_per_side: Annotated[int, typer.Option(min=1, help="Of the grid, for everything in images.")] = 32,
    tile_size: Annotated[
        int | None, typer.Option(min=1, help="Search large images in tiles of so many pixels a side.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Frames between two searches, for everything in clips.")] = 10,
    max_objects: Annotated[int, typer.Option(min=1, help="How many are tracked at once, for everything.")] = 100,
    frames: Annotated[int | None, typer.Option(min=1, help="How many frames of a clip, at most.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that are encoded at once.")] = 8,
    together: Annotated[
        int, typer.Option(min=1, help="Clips with prompts that are tracked in one batch; the same up to rounding.")
    ] = 1,
    rows_a_shard: Annotated[int, typer.Option(min=1, help="Images or clips in each Parquet file.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; by default one a GPU or a core. 0 for none beside this one.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of torch in each process.")] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster; local starts Ray on this machine. Without it, no Ray is needed."),
    ] = None,
    max_attempts: Annotated[
        int, typer.Option(min=1, help="Processes that may die of a shard until it is given up.")
    ] = 3,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Compute shards with failed rows again.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Compare the hashes of finished files.")] = False,
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    json_output: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Segment any number of images and clips, and write Parquet; what was stopped goes on where it was.

    Prompts are those of the rows, else those of --from, else everything is segmented. Ctrl-C finishes what is begun. A
    row that cannot be computed is a row with an error, and the others go on.
    """
    if kind not in KINDS:
        raise typer.BadParameter(f"expected one of {', '.join(KINDS)}, got {kind!r}", param_hint="--kind")
    columns = _read_columns(column)
    settings: dict[str, Any] = arguments.loading_settings(checkpoint, device, dtype, image_size)
    settings |= {
        "kind": None if kind == "auto" else kind,
        "prompts": None if prompts is None else arguments.read_prompt_file(prompts),
        "search": {"points_per_crop": points_per_side, "tile_size": tile_size},
        "clip_search": {"every": every, "max_objects": max_objects},
        "frames": frames,
        "batch_size": batch_size,
        "clips_together": together,
    }
    arguments.prepare_process(quiet)
    from ..scale.batch_run import run

    with Interruption() as interruption:
        summary = run(
            source,
            out,
            columns=columns,
            split=split,
            rows_a_shard=rows_a_shard,
            workers=workers,
            threads=threads,
            address=address,
            max_attempts=max_attempts,
            retry_errors=retry_errors,
            verify=verify,
            progress=not quiet,
            is_interrupted=lambda: interruption.wanted,
            **settings,
        )
    _finish(summary, json_output, interruption.wanted)


def _finish(summary: Any, as_json: bool, is_interrupted: bool) -> None:
    from .main import FAILED, INTERRUPTED

    typer.echo(json.dumps(summary.as_dict(), indent=2) if as_json else str(summary))
    if is_interrupted and not summary.is_complete:
        typer.echo("interrupted; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED)
    if summary.errors or summary.failed:
        raise typer.Exit(FAILED)


def _read_columns(texts: list[str] | None) -> dict[str, str]:
    columns = {}
    for text in texts or ():
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            raise typer.BadParameter(f"expected NAME=COLUMN, got {text!r}", param_hint="--column")
        columns[name] = column
    return columns
