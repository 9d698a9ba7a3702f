"""`sam2 evaluate`: a checkpoint measured on annotated data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .arguments import Device, ImageSize, Quiet, read_image_size


class Task(str, Enum):
    """What is measured."""

    clicks = "clicks"
    tracking = "tracking"
    policies = "policies"


class Prompt(str, Enum):
    """What an object is prompted with before it is tracked."""

    mask = "mask"
    click = "click"
    box = "box"


_CLICKS = "1,3,5"


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A folder or a name on the Hub.")],
    task: Annotated[Task, typer.Argument(help="IoU after clicks, J&F of tracking, or of memory policies.")],
    data: Annotated[str, typer.Argument(help="The kind of data, see docs/training.md: coco, palette, ...")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="What the data set takes, values in YAML.")
    ] = None,
    prompt: Annotated[Prompt, typer.Option(help="For tracking.")] = Prompt.mask,
    clicks: Annotated[str, typer.Option(help="After how many clicks to measure, with commas between them.")] = _CLICKS,
    memory_policy: Annotated[
        str | None,
        typer.Option(
            "--memory-policy",
            "--memory-selection",
            help="For tracking: sam2, visible or another; else the model's. For policies: those to compare, with "
            "commas; else all.",
        ),
    ] = None,
    image_size: ImageSize = None,
    device: Device = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the results here too, for tracking object by object; - for the output."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure a checkpoint: IoU after clicks and for a box, J&F of tracking, or memory policies side by side."""
    counts = read_counts(clicks)
    if task is Task.policies:
        size = read_image_size(image_size)
        found = measure_policies(
            checkpoint, data, read_options(options or []), prompt, memory_policy, size, device, json_file, quiet
        )
        if json_file != Path("-"):
            typer.echo(found)
        return
    changes: dict[str, Any] = {"memory_policy": memory_policy} if memory_policy else {}
    size = read_image_size(image_size)
    given = read_options(options or [])
    averages, objects = measure(checkpoint, task, data, given, prompt, counts, changes, size, device, quiet)
    named = ["--prompt", prompt.value] if task is Task.tracking else []
    named += ["--clicks", clicks] if task is Task.clicks and clicks != _CLICKS else []
    named += ["--memory-policy", memory_policy] if memory_policy else []
    named += ["--image-size", image_size] if image_size else []
    arguments = [checkpoint, task.value, data, *(options or []), *named]
    content = json.dumps({"arguments": arguments, "averages": averages, "objects": objects}, indent=1)
    if json_file == Path("-"):
        typer.echo(content)
        return
    for name, value in averages.items():
        typer.echo(f"{name:>10}  {value:.4f}")
    if json_file is not None:
        json_file.write_text(content, encoding="utf-8")


def measure(
    checkpoint: str,
    task: Task,
    data: str,
    options: dict[str, Any],
    prompt: Prompt,
    clicks: Sequence[int],
    changes: dict[str, Any],
    image_size: tuple[int, int] | None,
    device: str | None,
    quiet: bool,
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Measure the averages, and for tracking the scores of every object.

    Args:
        checkpoint: a folder or a name on the Hub.
        task: what is measured.
        data: the kind of data.
        options: what the data set takes.
        prompt: for tracking.
        clicks: after how many clicks to measure.
        changes: settings of the model's configuration that are replaced.
        image_size: of its input, (height, width); the model's by default.
        device: where the model runs; a GPU where there is one, by default.
        quiet: whether no progress is shown.

    Returns:
        Averages by name, and a record for each tracked object.

    Raises:
        ValueError, OSError: data or a checkpoint that cannot be read.
    """
    from tqdm import tqdm

    from ..modeling_sam2_video import Sam2VideoModel
    from ..predictors.loaded_models import best_device
    from ..processing_sam2_video import Sam2VideoProcessor
    from ..training.data.data_sets import open_data
    from ..training.evaluation import metrics, prompt_evaluation, tracking_evaluation

    videos = tqdm(open_data(data, options), unit="video", disable=quiet)
    size: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
    model = Sam2VideoModel.from_pretrained(checkpoint, **changes, **size).to(device or best_device()).eval()
    processor = Sam2VideoProcessor.from_pretrained(checkpoint, **size)
    if task is Task.clicks:
        return prompt_evaluation.evaluate_prompts(model, processor, videos, clicks), []
    scores = list(tracking_evaluation.evaluate_tracking(model, processor, videos, prompt.value))
    return metrics.summarise(scores), [asdict(score) for score in scores]


def measure_policies(
    checkpoint: str,
    data: str,
    options: dict[str, Any],
    prompt: Prompt,
    policies: str | None,
    image_size: tuple[int, int] | None,
    device: str | None,
    json_file: Path | None,
    quiet: bool,
) -> str:
    """Track the same videos with several memory policies.

    Args:
        checkpoint: a folder or a name on the Hub.
        data: the kind of data.
        options: what the data set takes.
        prompt: of every object.
        policies: their names, with commas between them; all that are registered by default.
        image_size: of the model's input, (height, width); the model's by default.
        device: where the model runs; a GPU where there is one, by default.
        json_file: where averages, objects and seconds are written; - for the output.
        quiet: whether no progress is shown.

    Returns:
        A table in Markdown.

    Raises:
        ValueError, OSError: data, a checkpoint or a policy that cannot be had.
    """
    from tqdm import tqdm

    from ..modeling_sam2_video import Sam2VideoModel
    from ..predictors.loaded_models import best_device
    from ..processing_sam2_video import Sam2VideoProcessor
    from ..tracking.memory.registry import MEMORY_POLICIES
    from ..training.data.data_sets import open_data
    from ..training.evaluation.policy_evaluation import as_table, evaluate_policies

    names = policies.split(",") if policies else list(MEMORY_POLICIES)
    videos = tqdm(open_data(data, options), unit="video", disable=quiet)
    size: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
    model = Sam2VideoModel.from_pretrained(checkpoint, **size).to(device or best_device()).eval()
    processor = Sam2VideoProcessor.from_pretrained(checkpoint, **size)
    found = evaluate_policies(model, processor, videos, {name: name for name in names}, prompt.value)
    if json_file is not None:
        content = json.dumps({name: asdict(scores) | {"averages": scores.averages()} for name, scores in found.items()})
        typer.echo(content) if json_file == Path("-") else json_file.write_text(content, encoding="utf-8")
    return as_table(found)


def read_counts(text: str) -> list[int]:
    """Read numbers of clicks with commas between them.

    Raises:
        typer.BadParameter: no such numbers.
    """
    counts = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if min(counts) < 1:
        raise typer.BadParameter(f"expected numbers from 1 with commas between them, got {text!r}")
    return counts


def read_options(options: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE, the value in YAML.

    Raises:
        ValueError: one without "=".
        ImportError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError('evaluation needs PyYAML: pip install "sam2-hf[train]"') from error
    wrong = [option for option in options if "=" not in option]
    if wrong:
        raise ValueError(f"options must be NAME=VALUE, got {wrong[0]!r}")
    return {name: yaml.safe_load(value) for name, _, value in (option.partition("=") for option in options)}
