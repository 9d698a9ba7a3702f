"""`sam2 segment`: objects in images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from ..predictors.segmenter import Segmenter
from ..results.image_result import ImageResult
from ..results.label_maps import write_label_map
from . import arguments
from .arguments import AsJson, Checkpoint, Device, Dtype, From, ImageSize, Negatives, Out, Points, Quiet, Style

FORMATS = ("png", "coco", "csv", "yolo", "geojson", "labels", "cutout")


def segment(
    images: Annotated[list[str], typer.Argument(help="Files, folders, patterns, addresses, or - for standard input.")],
    point: Points = None,
    negative: Negatives = None,
    box: Annotated[
        list[str] | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around an object. Repeatable.")
    ] = None,
    prompts: From = None,
    everything: Annotated[bool, typer.Option("--everything", help="Segment everything, by a grid of points.")] = False,
    points_per_side: Annotated[int, typer.Option(help="Of the grid, for --everything.")] = 32,
    out: Out = Path("outputs"),
    format: Annotated[str, typer.Option(help=f"With commas between them: {', '.join(FORMATS)}.")] = "png",
    style: Style = "fill",
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    json_output: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Segment objects in images, and write overlays and files for other tools.

    All points are on one object. With one box they share it; several boxes are several objects.
    """
    arguments.be_quiet(quiet)
    formats = arguments.read_formats(format, FORMATS)
    given = {} if everything else _read_prompts(point, negative, box, prompts)
    found = arguments.find_images(images)
    segmenter = Segmenter(checkpoint, device, dtype, arguments.read_image_size(image_size))
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    report = []
    for name, image in tqdm(found, unit="image", disable=quiet or len(found) == 1):
        if everything:
            result = segmenter.segment_everything(image, points_per_crop=points_per_side)
        else:
            result = segmenter.segment(image, **given)
        files = _write(result, out / arguments.free_name(name, taken), formats, style)
        report.append(_describe(result, str(image) if isinstance(image, (str, Path)) else name, files))
    typer.echo(json.dumps(report, indent=2, default=str) if json_output else _as_text(report))


def _read_prompts(
    point: list[str] | None, negative: list[str] | None, box: list[str] | None, prompts: Path | None
) -> dict[str, Any]:
    """The prompts as `Segmenter.segment` takes them."""
    points, labels = arguments.read_points(point, negative)
    boxes = [arguments.read_numbers(text, 4, "--box") for text in box or ()]
    if prompts is not None:
        if points or boxes:
            raise typer.BadParameter("stands instead of --point, --negative and --box", param_hint="--from")
        return _by_kind(arguments.read_prompt_file(prompts))
    if points and len(boxes) > 1:
        raise typer.BadParameter("points belong to one object: give one box, or --from", param_hint="--box")
    if not points and not boxes:
        raise typer.BadParameter("give --point, --box, --from or --everything", param_hint="PROMPTS")
    given: dict[str, Any] = {"points": points, "labels": labels} if points else {}
    if boxes:
        given["boxes"] = boxes[0] if points else boxes
    return given


def _by_kind(prompts: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {}
    names = {"points": "points", "labels": "labels", "box": "boxes"}
    for name, fields in prompts.items():
        for key, value in (fields if isinstance(fields, dict) else {"points": fields}).items():
            if key not in names:
                raise ValueError(f"the prompt of {name!r} may have {', '.join(names)}, got {key}")
            if value is not None:
                kinds.setdefault(names[key], {})[name] = value
    return kinds


def _write(result: ImageResult, path: Path, formats: list[str], style: str) -> list[str]:
    """Write a result in all formats; the files."""
    suffixes = {"png": ".png", "coco": ".json", "csv": ".csv", "yolo": ".txt", "geojson": ".geojson"}
    files = []
    for name in formats:
        if name in suffixes:
            options = {"style": style} if name == "png" else {}
            files.append(result.save(f"{path}{suffixes[name]}", **options))
        elif name == "labels":
            files.append(Path(f"{path}_labels.png"))
            write_label_map(files[-1], result.label_map())
        elif result.areas.any():
            files.append(Path(f"{path}_cutout.png"))
            result.cutout().save(files[-1])
    return [str(file) for file in files]


def _describe(result: ImageResult, image: str, files: list[str]) -> dict[str, Any]:
    height, width = result.size
    objects = [
        {"name": item.name, "score": _rounded(item.score), "area": item.area, "box": item.box} for item in result
    ]
    return {"image": image, "width": width, "height": height, "objects": objects, "files": files}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _as_text(report: list[dict[str, Any]]) -> str:
    lines = []
    for entry in report:
        lines.append(f"{entry['image']}: {len(entry['objects'])} objects -> {', '.join(entry['files']) or 'no files'}")
        for item in entry["objects"][:20]:
            score = "-" if item["score"] is None else f"{item['score']:.3f}"
            box = " ".join(map(str, item["box"]))
            lines.append(f"  {item['name']}: score {score}, {item['area']} pixels, box {box}")
        if len(entry["objects"]) > 20:
            lines.append(f"  ... and {len(entry['objects']) - 20} more")
    return "\n".join(lines)
