"""The command line: `python -m sam2_hf.demo [--image photo.jpg] [--video clip.mp4] [--checkpoint FOLDER_OR_NAME]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from transformers.utils import logging

from ..fast.allocator import keep_freed_memory
from ..hub.bundled import BUNDLED_NAME, bundled_checkpoint
from ..predictors.segmenter import Segmenter
from ..predictors.tracker import Tracker
from ..version import __version__
from .clips import Tracked, track_clicks
from .images import Point, Timed, segment_clicks, segment_everything
from .photographs import installed_photographs
from .world import draw_clip, draw_image

_SHOWN_ROWS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Segment everything in an image, and the objects that are clicked; track clicked objects through a clip.

    Writes images and a clip, and prints tables. Returns the exit status.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    keep_freed_memory()
    print(f"sam2_hf {__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    shows_all = given.image is None and given.video is None
    if given.image is not None or shows_all:
        _show_image(parser, given)
    if given.video is not None or shows_all:
        _show_clip(parser, given)
    _say_what_is_next(given.checkpoint)
    return 0


def _show_image(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    image, points, source = _open_image(parser, given.image)
    points = _read_clicks(parser, given.click, image.size) or points
    segmenter = _load(parser, given, Segmenter)
    _introduce(segmenter, f"Image:   {source}, {image.width} x {image.height}")

    given.output.mkdir(parents=True, exist_ok=True)
    found = segment_everything(segmenter, image, given.points_per_side)
    path = given.output / "everything.png"
    found.result.save(path)
    clicks = given.points_per_side**2
    _report(f"Everything: {len(found.result)} masks from {clicks} clicks in {found.seconds:.1f} s -> {path}", found)

    found = segment_clicks(segmenter, image, points)
    path = given.output / "clicks.png"
    found.result.save(path)
    where = ", ".join(f"({x}, {y})" for x, y in points)
    _report(f"Clicks at {where}: the best mask of each in {found.seconds:.1f} s -> {path}", found)


def _open_image(parser: argparse.ArgumentParser, path: str | None) -> tuple[Image.Image, list[Point], str]:
    """Open the image that was given, else a photograph of an installed package, else draw one.

    Returns:
        The image, points to click, and where it comes from.
    """
    if path is not None:
        try:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        except OSError as error:
            parser.error(f"--image {path}: {error}")
        return image, [(image.width // 2, image.height // 2)], path
    photograph = next(installed_photographs(), None)
    if photograph is not None:
        return photograph.read(), list(photograph.points), f"{photograph.file} of the package {photograph.package}"
    world = draw_image()
    return world.first, world.points, "drawn by the demo"


def _show_clip(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    path = given.output / "tracked.mp4"
    clip: Any = given.video
    points = None if given.click is None else [tuple(point) for point in given.click]
    if clip is None:
        world = draw_clip()
        clip, points = list(world.frames), points or world.points
    elif path.resolve() == Path(clip).resolve():
        parser.error(f"--video {clip} would be overwritten; give another --output")
    tracker = _load(parser, given, Tracker)
    _introduce(tracker, f"Clip:    {given.video or 'drawn by the demo'}")

    given.output.mkdir(parents=True, exist_ok=True)
    try:
        tracked = track_clicks(tracker, clip, points, path, given.frames)
    except (OSError, ValueError) as error:
        parser.error(f"--video {given.video}: {error}")
    _report_clip(tracked, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sam2_hf.demo", description=main.__doc__)
    parser.add_argument(
        "--image",
        help="an image file; by default, a photograph of scikit-image where it is installed, else one is drawn",
    )
    parser.add_argument("--video", help="a clip: a file, a folder of images or an address; by default, one is drawn")
    parser.add_argument(
        "--checkpoint",
        default=bundled_checkpoint(),
        help=f"a folder or a name on the Hub, e.g. facebook/sam2.1-hiera-tiny; by default the bundled {BUNDLED_NAME}",
    )
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the results")
    parser.add_argument(
        "--click",
        type=int,
        nargs=2,
        action="append",
        metavar=("X", "Y"),
        help="a point on an object, in pixels; repeatable; by default the middle",
    )
    parser.add_argument("--points-per-side", type=int, default=16, help="of the grid of points for everything")
    parser.add_argument("--frames", type=int, help="number of frames of the clip; by default all")
    return parser


def _read_clicks(
    parser: argparse.ArgumentParser, clicks: Sequence[Sequence[int]] | None, size: tuple[int, int]
) -> list[Point]:
    width, height = size
    for x, y in clicks or ():
        if not (0 <= x < width and 0 <= y < height):
            parser.error(f"--click {x} {y} lies outside the image of {width} x {height} pixels")
    return [(x, y) for x, y in clicks or ()]


def _load(parser: argparse.ArgumentParser, given: argparse.Namespace, load: Any) -> Any:
    try:
        return load(given.checkpoint)
    except (OSError, ValueError) as error:
        parser.error(f"--checkpoint {given.checkpoint}: {error}")


def _introduce(shown: Segmenter | Tracker, material: str) -> None:
    parameters = sum(parameter.numel() for parameter in shown.model.parameters()) / 1e6
    name = f"{BUNDLED_NAME}, the bundled checkpoint" if shown.loaded.is_bundled else shown.loaded.checkpoint
    print(f"\nModel:   {name}, {parameters:.1f} million parameters, on {shown.model.device}")
    print(material)


def _report(title: str, found: Timed) -> None:
    print(f"\n{title}")
    print(f"{'mask':>6} {'predicted IoU':>14} {'area':>9}   box (left, top, right, bottom)")
    for number, score, area, box in found.rows()[:_SHOWN_ROWS]:
        print(f"{number:>6} {score:>14.3f} {area:>9}   {'empty' if box is None else ' '.join(f'{x:>4}' for x in box)}")
    if len(found.result) > _SHOWN_ROWS:
        print(f"   ... and {len(found.result) - _SHOWN_ROWS} more")


def _report_clip(tracked: Tracked, path: Path) -> None:
    count, objects = len(tracked.areas), len(tracked.areas[0])
    print(
        f"\n{objects} object{'s' * (objects > 1)} clicked on the first of {count} frames, "
        f"{tracked.seconds / count:.2f} s a frame -> {path}, {path.with_suffix('.png').name}"
    )
    print(f"{'frame':>6}   area in pixels of each object, - where it is not visible")
    for frame in range(0, count, -(-count // _SHOWN_ROWS)):
        pairs = zip(tracked.areas[frame], tracked.scores[frame], strict=True)
        print(f"{frame:>6} " + " ".join(f"{area if score > 0 else '-':>9}" for area, score in pairs))


def _say_what_is_next(checkpoint: str) -> None:
    """Name three commands for images and clips of the user's own."""
    script = Path(sys.executable).with_name("sam2")
    sam2 = os.path.relpath(script) if script.exists() else f"{Path(sys.executable).name} -m sam2_hf"
    trained = "facebook/sam2.1-hiera-tiny" if checkpoint == bundled_checkpoint() else checkpoint
    print("\nNext, on an image and a clip of yours:")
    print(f"  {sam2} segment photo.jpg --point 500,375 --checkpoint {trained}")
    print(f"  {sam2} track clip.mp4 --point 210,350 --checkpoint {trained}")
    print(f"  {sam2} --help")


if __name__ == "__main__":
    logging.disable_progress_bar()  # loading is short; warnings are still shown
    raise SystemExit(main())
