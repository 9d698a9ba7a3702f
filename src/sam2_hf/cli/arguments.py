"""What the subcommands share: options, and texts that stand for points, boxes, formats and files."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Checkpoint = Annotated[
    str | None, typer.Option(metavar="NAME", help="A folder or a name on the Hub, such as facebook/sam2.1-hiera-tiny.")
]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="Where the model runs, such as cuda:1; a GPU where there is one.")
]
Dtype = Annotated[str | None, typer.Option(metavar="NAME", help="Of the model's weights, such as bfloat16.")]
MemoryPolicy = Annotated[
    str | None,
    typer.Option(help="Which memories are read: sam2, visible or another; the checkpoint's by default."),
]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="N or H,W", help="Of the model's input in pixels; that of the checkpoint by default."),
]
Engine = Annotated[
    str, typer.Option(metavar="NAME", help="What computes: torch; or onnx, which is onnxruntime on the CPU.")
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Where files are written to.")]
Points = Annotated[list[str] | None, typer.Option("--point", metavar="X,Y", help="A point on the object. Repeatable.")]
Negatives = Annotated[
    list[str] | None, typer.Option("--negative", metavar="X,Y", help="A point on the background. Repeatable.")
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="FILE", help='JSON with prompts by name: {"cup": {"points": [[210, 350]], "labels": [1]}}.'
    ),
]
PathsFrom = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Read further ones from a list, one a line; - for the standard input."),
]
Style = Annotated[str, typer.Option(metavar="NAME", help="Of overlays: fill, contour, spotlight, legend or plain.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor notices.")]


def require(texts: Sequence[str] | None, paths_from: str | None, name: str) -> list[str]:
    """Take the arguments that say what to work on; there may be none of them where a list is given.

    Raises:
        typer.BadParameter: neither arguments nor a list.
    """
    if not texts and paths_from is None:
        raise typer.BadParameter("Missing argument; give some, or --paths-from", param_hint=name)
    return list(texts or [])


def read_numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    """Read numbers with commas between them.

    Raises:
        typer.BadParameter: another number of them, or no numbers.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        form = "x,y" if count == 2 else "x0,y0,x1,y1"
        raise typer.BadParameter(f"expected {form}, got {text!r}", param_hint=option)
    return numbers


def read_image_size(text: str | None) -> tuple[int, int] | None:
    """Read the size of the model's input, one number or two with a comma between them.

    Raises:
        typer.BadParameter: anything else.
    """
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected N or H,W in pixels, got {text!r}", param_hint="--image-size")
    return int(parts[0]), int(parts[-1])


def loading_settings(
    checkpoint: str | None, device: str | None, dtype: str | None, image_size: str | None
) -> dict[str, Any]:
    """Collect the arguments of `Segmenter` and `Tracker`.

    Raises:
        typer.BadParameter: a size that cannot be read.
    """
    return {"checkpoint": checkpoint, "device": device, "dtype": dtype, "image_size": read_image_size(image_size)}


def read_points(points: Sequence[str] | None, negatives: Sequence[str] | None) -> tuple[list[Any], list[int]]:
    """Read points on the object and on the background.

    Returns:
        The points (x, y), and 1 or 0 for each.
    """
    on_object = [read_numbers(text, 2, "--point") for text in points or ()]
    on_background = [read_numbers(text, 2, "--negative") for text in negatives or ()]
    return [*on_object, *on_background], [1] * len(on_object) + [0] * len(on_background)


def read_prompt_file(path: Path) -> dict[str, Any]:
    """Read prompts by name from a JSON file.

    Raises:
        ValueError: the file holds no JSON object.
    """
    try:
        prompts = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(prompts, dict) or not prompts:
        raise ValueError(f"{path} must hold prompts by name, {{'cup': {{...}}}}")
    return prompts


def read_formats(text: str, known: Sequence[str]) -> list[str]:
    """Read names of formats with commas between them.

    Raises:
        typer.BadParameter: an unknown one.
    """
    formats = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [name for name in formats if name not in known]
    if unknown or not formats:
        raise typer.BadParameter(f"expected some of {', '.join(known)}, got {text!r}", param_hint="--format")
    return formats


def prepare_process(quiet: bool) -> None:
    """Set up what belongs to the whole process: its memory allocator, no bars while loading, and which notices show."""
    from transformers.utils import logging as transformers_logging

    from ..fast.allocator import keep_freed_memory

    keep_freed_memory()
    transformers_logging.disable_progress_bar()
    logging.getLogger("sam2_hf").setLevel(logging.ERROR if quiet else logging.WARNING)
