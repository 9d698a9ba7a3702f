"""Collects the logs of a training: one table of all stages, and a figure of the curve.

python scripts/training_log.py outputs/micro configs/sam2.1-hiera-micro.csv docs/images/training.png

The figure needs matplotlib: pip install "sam2-hf[train]".
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = (
    "loss",
    "loss_focal",
    "loss_dice",
    "loss_iou",
    "loss_object_score",
    "loss_pixel_affinity",
    "grad_norm",
    "learning_rate",
)


def read_stages(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the log entries of every finished stage, in the order in which the stages ran."""
    states = sorted(output.glob("*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
    if not states:
        raise ValueError(f"{output} holds no stage with a trainer_state.json")
    return {
        path.parent.name: [entry for entry in json.loads(path.read_text())["log_history"] if "loss" in entry]
        for path in states
    }


def write_table(stages: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Write a CSV file with a row for every entry."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("stage", "step", *COLUMNS))
        for name, entries in stages.items():
            for entry in entries:
                writer.writerow((name, entry["step"], *(entry.get(column, "") for column in COLUMNS)))


def draw_curve(stages: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the dice loss over all steps, one colour for each stage."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.2), dpi=110)
    passed = 0
    for name, entries in stages.items():
        steps = [passed + entry["step"] for entry in entries]
        axes.plot(steps, [float(entry["loss_dice"]) for entry in entries], label=name.replace("_", " "))
        passed = steps[-1]
    axes.set(xlabel="steps", ylabel="dice loss", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(ncols=3, fontsize="small", loc="upper right")
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> int:
    """Write both files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the folder that scripts/train.py wrote")
    parser.add_argument("table", type=Path, help="the CSV file to write")
    parser.add_argument("figure", type=Path, nargs="?", help="the PNG file to write")
    options = parser.parse_args(arguments)
    try:
        stages = read_stages(options.output)
        write_table(stages, options.table)
        if options.figure:
            draw_curve(stages, options.figure)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
