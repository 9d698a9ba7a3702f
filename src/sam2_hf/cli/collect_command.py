"""`sam2 collect`: COCO and SA-V JSON from the shards of `sam2 batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import arguments

FORMATS = ("coco", "sa-v")


def collect(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that sam2 batch wrote.")],
    out: Annotated[Path, typer.Option(help="The folder that files are written to.")] = Path("outputs"),
    format: Annotated[str, typer.Option(help=f"With commas between them: {', '.join(FORMATS)}.")] = "coco",
) -> None:
    """Write one COCO file of all results (coco.json), and SA-V files of clips (NAME_manual.json).

    Rows that failed are left out.
    """
    formats = arguments.read_formats(format, FORMATS)
    from ..scale.collect import collect_coco, collect_sa_v

    out.mkdir(parents=True, exist_ok=True)
    if "coco" in formats:
        typer.echo(collect_coco(run, out / "coco.json"))
    if "sa-v" in formats:
        written = collect_sa_v(run, out)
        typer.echo(f"{len(written)} clips -> {out}/*_manual.json")
