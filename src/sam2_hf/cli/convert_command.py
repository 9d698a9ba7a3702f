"""`sam2 convert`: original checkpoints to folders that `from_pretrained` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..convert.checkpoint_folder import convert_checkpoint


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="An original .pt file.")],
    folder: Annotated[Path, typer.Argument(help="The folder that is written.")],
    variant: Annotated[
        str | None, typer.Option(help="A preset, such as sam2.1-hiera-tiny; told by the weights.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare what was written, and run the loaded model.")
    ] = False,
) -> None:
    """Convert an original checkpoint to a folder of model, configuration, processor and model card."""
    converted = convert_checkpoint(checkpoint, folder, variant=variant, overwrite=overwrite, verify=verify)
    checked = ", verified" if verify else ""
    model = converted.variant or "a model of its own sizes"
    typer.echo(f"{model}, {converted.num_parameters / 1e6:.1f} M parameters{checked}: {converted.folder}")
