"""`sam2 train`: a model trained as a recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, see docs/training.md.")],
    output: Annotated[Path, typer.Argument(help="The folder that is written: a folder for each stage, and model.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Replace a value of the recipe. Repeatable."),
    ] = None,
) -> None:
    """Train a model as a recipe says, in one stage or several.

    On several GPUs: accelerate launch -m sam2_hf train RECIPE OUTPUT. An interrupted training goes on with --resume.
    """
    from ..training.loop.recipe_file import load_recipe
    from ..training.loop.run_recipe import train as run

    read = load_recipe(recipe, changes or [])
    typer.echo(f"the finished model: {run(read, output, resume)}")
