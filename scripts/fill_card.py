"""Writes the results of `evaluate.py --json` into a checkpoint's model card, and the averages into a file beside it.

python scripts/fill_card.py src/sam2_hf/checkpoints/sam2.1-hiera-micro clicks.json tracking.json

The card, `README.md`, holds a line `<!-- scores -->` and a line `<!-- end of scores -->`; the table goes between them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- scores -->", "<!-- end of scores -->"


def read_scores(path: Path) -> dict[str, Any]:
    """Read one measurement: its command and the averages."""
    found = json.loads(path.read_text(encoding="utf-8"))
    _, task, *rest = found["arguments"]
    named = rest[: rest.index("--json")] if "--json" in rest else rest
    return {"command": " ".join(("scripts/evaluate.py CHECKPOINT", task, *named)), "scores": found["averages"]}


def table(measurements: list[dict[str, Any]]) -> str:
    """Format a table for each measurement, under its command."""
    parts = []
    for measured in measurements:
        rows = [f"| {name} | {value:.3f} |" for name, value in measured["scores"].items()]
        parts.append("\n".join((f"`python {measured['command']}`", "", "| | |", "|---|---|", *rows)))
    return "\n\n".join(parts)


def fill(card: str, measurements: list[dict[str, Any]]) -> str:
    """Replace the tables of a card.

    Raises:
        ValueError: if the card lacks the two lines.
    """
    if BEGIN not in card or END not in card:
        raise ValueError(f"the card needs the lines {BEGIN} and {END}")
    before, rest = card.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{table(measurements)}\n\n{END}{rest.split(END, 1)[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Write both files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="the folder with README.md")
    parser.add_argument("scores", type=Path, nargs="+", help="what evaluate.py --json wrote")
    options = parser.parse_args(arguments)
    card = options.checkpoint / "README.md"
    try:
        measurements = [read_scores(path) for path in options.scores]
        card.write_text(fill(card.read_text(encoding="utf-8"), measurements), encoding="utf-8")
        summary = json.dumps(measurements, indent=1) + "\n"
        (options.checkpoint / "evaluation.json").write_text(summary, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
