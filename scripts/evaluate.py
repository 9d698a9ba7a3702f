"""Measures a checkpoint: IoU after clicks and for a box, J&F of tracking.

python scripts/evaluate.py CHECKPOINT clicks coco annotations=instances_val.json images=val
python scripts/evaluate.py CHECKPOINT tracking palette root=DAVIS resolution=480p videos=DAVIS/ImageSets/2017/val.txt
python scripts/evaluate.py CHECKPOINT tracking sa_v_evaluation root=sav_val --prompt click --json scores.json
python scripts/evaluate.py CHECKPOINT clicks synthetic count=500 split=test moving=false objects=[3,8]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from sam2_hf import Sam2VideoModel, Sam2VideoProcessor
from sam2_hf.training.data.data_sets import KINDS, open_data
from sam2_hf.training.evaluation.metrics import summarise
from sam2_hf.training.evaluation.prompt_evaluation import evaluate_prompts
from sam2_hf.training.evaluation.tracking_evaluation import evaluate_tracking


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a folder or a name on the Hub")
    parser.add_argument("task", choices=("clicks", "tracking"), help="what is measured")
    parser.add_argument("data", choices=sorted(KINDS), help="the kind of data")
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE", help="what the data set takes, values in YAML")
    parser.add_argument("--prompt", choices=("mask", "click", "box"), default="mask", help="for tracking")
    parser.add_argument("--clicks", type=int, nargs="+", default=[1, 3, 5], help="after how many clicks to measure")
    parser.add_argument(
        "--memory-policy", "--memory-selection", help='for tracking, if not the model\'s: "sam2", "visible" or another'
    )
    parser.add_argument("--image-size", type=int, help="of the model's input in pixels, if not the model's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the results here too, for tracking object by object")
    return parser.parse_args(arguments)


def read_options(options: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE, the value in YAML."""
    wrong = [option for option in options if "=" not in option]
    if wrong:
        raise ValueError(f"options must be NAME=VALUE, got {wrong[0]!r}")
    return {name: yaml.safe_load(value) for name, _, value in (option.partition("=") for option in options)}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Measure the averages, and for tracking the scores of every object."""
    videos = tqdm(open_data(options.data, read_options(options.options)))
    changes = {"memory_policy": options.memory_policy} if options.memory_policy else {}
    size = {"image_size": options.image_size} if options.image_size else {}
    model = Sam2VideoModel.from_pretrained(options.checkpoint, **changes, **size).to(options.device).eval()
    processor = Sam2VideoProcessor.from_pretrained(options.checkpoint, **size)
    if options.task == "clicks":
        return evaluate_prompts(model, processor, videos, options.clicks), []
    scores = list(evaluate_tracking(model, processor, videos, options.prompt))
    return summarise(scores), [asdict(score) for score in scores]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse_arguments(arguments)
    try:
        averages, objects = measure(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, value in averages.items():
        print(f"{name:>10}  {value:.4f}")
    if options.json:
        found = {"arguments": list(arguments), "averages": averages, "objects": objects}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
