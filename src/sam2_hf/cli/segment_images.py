"""The work of `sam2 segment`: images one after the other, each written as soon as it is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm

from ..predictors.object_prompts import read_object_prompts
from ..predictors.segmenter import Segmenter
from ..results.file_names import free_name
from ..results.image_result import ImageResult
from ..results.label_maps import write_label_map
from ..results.overlay import read_style
from . import sources
from .engines import load_segmenter
from .interruption import Interruption
from .main import FAILED, INTERRUPTED, describe
from .sources import NamedSource

_SHOWN_OBJECTS = 20
_SUFFIXES = {
    "png": ".png",
    "coco": ".json",
    "csv": ".csv",
    "parquet": ".parquet",
    "yolo": ".txt",
    "geojson": ".geojson",
    "labels": "_labels.png",
    "cutout": "_cutout.png",
}


@dataclass(frozen=True)
class SegmentJob:
    """What is done with each image.

    Attributes:
        prompts: arguments of `Segmenter.segment`.
        everything: whether everything is segmented, without prompts.
        search: settings of mask generation, for everything.
        tiling: arguments of `Segmenter.segment` that say how large images are read, for prompts.
        out: the folder that files are written to.
        formats: names of formats.
        style: of overlays.
        as_json: whether the report is JSON.
        quiet: whether neither progress nor notices are shown.
    """

    prompts: dict[str, Any]
    everything: bool
    search: dict[str, Any]
    tiling: dict[str, Any]
    out: Path
    formats: Sequence[str]
    style: str
    as_json: bool
    quiet: bool


def segment_images(
    job: SegmentJob,
    texts: Sequence[str],
    paths_from: str | None,
    loading: dict[str, Any],
) -> None:
    """Segment images and report.

    Args:
        job: what is done with each.
        texts: what stands for images, see `sources.find_images`.
        paths_from: a list of further ones, see `sources.read_paths`.
        loading: from `prepare_engine`.

    Raises:
        typer.Exit: it was interrupted, or one of several images could not be read.
        ValueError, TypeError, OSError: naming what is wrong.
    """
    read_style(job.style, {})
    if not job.everything:
        read_object_prompts(**job.prompts)
    images = sources.find_images([*texts, *sources.read_paths(paths_from)])
    if not images:
        raise ValueError("the list of images is empty")
    segmenter = load_segmenter(loading)
    job.out.mkdir(parents=True, exist_ok=True)
    report: list[dict[str, Any]] = []
    taken: set[str] = set()
    is_alone = len(images) == 1
    with Interruption() as interruption, tqdm(images, unit="image", disable=job.quiet or is_alone) as bar:
        for image in bar:
            try:
                result = _segment(segmenter, image, job)
            except (ValueError, TypeError, OSError) as error:
                if is_alone:
                    raise
                typer.echo(f"error: {image.text}: {describe(error)}", err=True)
                report.append({"image": image.text, "error": describe(error)})
            else:
                files = _write(result, image, free_name(image.stem, taken), job)
                report.append(_describe(result, image, files))
                _tell(report[-1], job)
            if interruption.wanted:
                break
    if job.as_json:
        typer.echo(json.dumps(report, indent=2, default=str))
    if interruption.wanted:
        typer.echo(f"interrupted after {len(report)} of {len(images)} images", err=True)
        raise typer.Exit(INTERRUPTED)
    if any("error" in entry for entry in report):
        raise typer.Exit(FAILED)


def _segment(segmenter: Segmenter, image: NamedSource, job: SegmentJob) -> ImageResult:
    if job.everything:
        # A terminal alone shows a bar that moves.
        progress = not job.quiet and sys.stderr.isatty()
        return segmenter.segment_everything(image.source, progress=progress, **job.search)
    return segmenter.segment(image.source, **job.prompts, **job.tiling)


def _write(result: ImageResult, image: NamedSource, name: str, job: SegmentJob) -> list[str]:
    """Write a result in all formats; the files."""
    files = [job.out / f"{name}{_SUFFIXES[format]}" for format in job.formats]
    sources.refuse_to_overwrite(image.source, files)
    written = []
    for format, file in zip(job.formats, files, strict=True):
        if format == "labels":
            write_label_map(file, result.label_map())
        elif format == "cutout":
            if not result.areas.any():
                continue
            result.cutout().save(file)
        else:
            result.save(file, **({"style": job.style} if format == "png" else {}))
        written.append(str(file))
    return written


def _describe(result: ImageResult, image: NamedSource, files: list[str]) -> dict[str, Any]:
    height, width = result.size
    objects = [
        {"name": item.name, "score": _rounded(item.score), "area": item.area, "box": item.box} for item in result
    ]
    return {"image": image.text, "width": width, "height": height, "objects": objects, "files": files}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _tell(entry: dict[str, Any], job: SegmentJob) -> None:
    """Say in lines what was found, beside the bar."""
    if job.as_json:
        return
    with tqdm.external_write_mode():
        count = "1 object" if len(entry["objects"]) == 1 else f"{len(entry['objects'])} objects"
        typer.echo(f"{entry['image']}: {count} -> {', '.join(entry['files']) or 'no files'}")
        for item in entry["objects"][:_SHOWN_OBJECTS]:
            score = "-" if item["score"] is None else f"{item['score']:.3f}"
            box = " ".join(map(str, item["box"]))
            typer.echo(f"  {item['name']}: score {score}, {item['area']} pixels, box {box}")
        if len(entry["objects"]) > _SHOWN_OBJECTS:
            typer.echo(f"  ... and {len(entry['objects']) - _SHOWN_OBJECTS} more")
