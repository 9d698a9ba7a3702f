"""What the subcommands share: options, and texts that stand for points, boxes, formats and files."""

from __future__ import annotations

import glob
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from transformers.utils import logging as transformers_logging

from ..inputs.natural_order import natural_order
from ..video_io.image_source import images_in_folder

Checkpoint = Annotated[
    str | None, typer.Option(help="A folder or a name on the Hub, such as facebook/sam2.1-hiera-tiny.")
]
Device = Annotated[str | None, typer.Option(help="Where the model runs; a GPU where there is one.")]
Dtype = Annotated[str | None, typer.Option(help="Of the model's weights, such as bfloat16.")]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="N or H,W", help="Of the model's input in pixels; that of the checkpoint by default."),
]
Out = Annotated[Path, typer.Option(help="The folder that files are written to.")]
Points = Annotated[list[str] | None, typer.Option("--point", metavar="X,Y", help="A point on the object. Repeatable.")]
Negatives = Annotated[
    list[str] | None, typer.Option("--negative", metavar="X,Y", help="A point on the background. Repeatable.")
]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="JSON", help='Prompts by name: {"cup": {"points": [[210, 350]], "box": null}}.'),
]
Style = Annotated[str, typer.Option(help="Of overlays: fill, contour, spotlight, legend or plain.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor notices.")]


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


def find_images(texts: Sequence[str]) -> list[tuple[str, Any]]:
    """Find the images that are meant by files, folders, patterns, addresses and "-" for the standard input.

    Returns:
        A name for files that are written, and the image, for each.

    Raises:
        FileNotFoundError: nothing of that name.
    """
    images: list[tuple[str, Any]] = []
    for text in texts:
        if text == "-":
            images.append(("stdin", Image.open(io.BytesIO(sys.stdin.buffer.read()))))
        elif "://" in text:
            images.append((Path(text.split("?")[0]).stem or "image", text))
        elif os.path.isdir(text):
            images += [(path.stem, path) for path in images_in_folder(Path(text))]
        else:
            found = [text] if os.path.exists(text) else natural_order(glob.glob(text, recursive=True))
            if not found:
                raise FileNotFoundError(f"there is no image {text!r}")
            images += [(Path(path).stem, Path(path)) for path in found]
    return images


def be_quiet(quiet: bool) -> None:
    """Show neither progress of loading nor, where it is wanted, notices."""
    transformers_logging.disable_progress_bar()
    logging.getLogger("sam2_hf").setLevel(logging.ERROR if quiet else logging.WARNING)


def free_name(name: str, taken: set[str]) -> str:
    """Number a name where it is taken: photo, photo-2, photo-3."""
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    taken.add(chosen)
    return chosen
