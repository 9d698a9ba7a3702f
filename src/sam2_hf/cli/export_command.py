"""`sam2 export`: a checkpoint as graphs for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..exporters.folder import export as write_graphs
from ..exporters.options import DTYPES, FORMATS, NAMES
from .arguments import ImageSize, Quiet, prepare_process, read_formats, read_image_size


def export(
    checkpoint: Annotated[str, typer.Argument(help="A folder, a name on the Hub, an original .pt file, or bundled.")],
    folder: Annotated[Path, typer.Argument(help="The folder that is written.")],
    format: Annotated[str, typer.Option(help=f"Of the files: {', '.join(FORMATS)}.")] = "onnx",
    dtype: Annotated[str, typer.Option(help=f"Of the weights, several with commas: {', '.join(DTYPES)}.")] = "fp32",
    names: Annotated[str, typer.Option(help=f"Of inputs and outputs: {' or '.join(NAMES)}.")] = "transformers.js",
    graph: Annotated[list[str] | None, typer.Option(help="A graph to write; all by default. Repeatable.")] = None,
    fixed_memories: Annotated[int | None, typer.Option(help="Memories of the fixed-length memory attention.")] = None,
    fixed_pointers: Annotated[int | None, typer.Option(help="Pointers of the fixed-length memory attention.")] = None,
    image_size: ImageSize = None,
    web: Annotated[
        Path | None, typer.Option(help="Write a web page as well; where npm has installed onnxruntime-web.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Export a checkpoint as graphs: image encoder, mask decoder, and for video memory attention and memory encoder."""
    prepare_process(quiet)
    settings: dict[str, Any] = {"format": format, "dtype": read_formats(dtype, list(DTYPES)), "names": names}
    settings |= {"fixed_memories": fixed_memories, "fixed_pointers": fixed_pointers}
    settings["image_size"] = read_image_size(image_size)
    report = None if quiet else lambda line: typer.echo(line, err=True)
    exported = write_graphs(
        named_checkpoint(checkpoint), folder, **settings, graphs=graph, web=web, overwrite=overwrite, report=report
    )
    count = sum(len(files) for files in exported.files.values())
    typer.echo(f"{count} graph{'s' if count != 1 else ''}: {exported.folder}")


def named_checkpoint(name: str) -> str:
    """The checkpoint that is meant; "bundled" stands for the bundled one."""
    from ..hub.bundled import bundled_checkpoint

    return bundled_checkpoint() if name == "bundled" else name
