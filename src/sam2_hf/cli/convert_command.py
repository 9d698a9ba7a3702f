"""`sam2 convert`: original checkpoints to folders that `from_pretrained` loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..configuration_sam2 import Sam2VideoConfig


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="An original .pt file.")],
    folder: Annotated[Path, typer.Argument(help="The folder that is written.")],
    variant: Annotated[
        str | None, typer.Option(help="A preset, such as sam2.1-hiera-tiny; recognised from the weights if left out.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A JSON file of Sam2VideoConfig, for a model of other sizes.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder if it is not empty.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare what was written, and run the loaded model.")
    ] = False,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="REPO", help="Upload the folder to this repository of the Hub.")
    ] = None,
) -> None:
    """Convert an original checkpoint (.pt) to a folder that sam2_hf and transformers load.

    The folder holds the model, its configuration, its processor and a model card.
    """
    from ..convert.checkpoint_folder import convert_checkpoint, push_folder

    if variant is not None and config is not None:
        raise typer.BadParameter("stands instead of --variant", param_hint="--config")
    converted = convert_checkpoint(
        checkpoint,
        folder,
        variant=variant,
        config=None if config is None else read_config(config),
        overwrite=overwrite,
        verify=verify,
        repo_id=push_to_hub,
    )
    model = converted.variant or "a model of its own sizes"
    checked = ", verified" if verify else ""
    typer.echo(f"{model}, {converted.num_parameters / 1e6:.1f} M parameters{checked}: {converted.folder}")
    if push_to_hub:
        typer.echo(push_folder(converted.folder, push_to_hub))


def read_config(path: Path) -> Sam2VideoConfig:
    """Read the configuration in a JSON file.

    Raises:
        ValueError: it holds none; the message names the file.
    """
    from ..configuration_sam2 import Sam2VideoConfig

    try:
        return Sam2VideoConfig.from_json_file(path)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no configuration of a Sam2VideoModel: {error}") from error
