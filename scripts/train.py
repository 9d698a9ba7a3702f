"""Trains a model as a recipe says.

python scripts/train.py configs/sam2.1-hiera-micro.yaml outputs/micro
python scripts/train.py configs/sam2.1-hiera-micro.yaml outputs/micro --resume
python scripts/train.py configs/sam2.1-hiera-micro.yaml outputs/try --set stages.0.arguments.max_steps=10
accelerate launch scripts/train.py configs/sam2.1-hiera-micro.yaml outputs/micro
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sam2_hf.training.loop.recipe_file import load_recipe
from sam2_hf.training.loop.run_recipe import train


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="a YAML file, see docs/training.md")
    parser.add_argument("output", type=Path, help="the folder to write: a folder for each stage, and model")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument(
        "--set", metavar="PATH=VALUE", action="append", default=[], help="replace a value of the recipe; repeatable"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Train; return the exit status."""
    options = parse_arguments(arguments)
    try:
        recipe = load_recipe(options.recipe, options.set)
        print(f"the finished model: {train(recipe, options.output, options.resume)}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
