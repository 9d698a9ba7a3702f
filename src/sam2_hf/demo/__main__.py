"""The command line: `python -m sam2_hf.demo [--image photo.jpg | --video clip.mp4] [--checkpoint FOLDER_OR_NAME]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from transformers.utils import logging

from ..version import __version__
from .clips import RANDOM_FRAMES, Tracker, load_tracker, track_click
from .images import Found, Subject, load_subject, save_click, save_everything, segment_click, segment_everything
from .scene import CLICK, draw_scene

_SHOWN_ROWS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Segments everything in a picture, and one click, or follows a click through a clip; writes the results and
    prints tables. Returns the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.video is not None:
        return _show_clip(parser, given)
    return _show_picture(parser, given)


def _show_picture(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    try:
        image = draw_scene() if given.image is None else ImageOps.exif_transpose(Image.open(given.image)).convert("RGB")
    except OSError as error:
        parser.error(f"--image {given.image}: {error}")
    point = _choose_point(parser, given, image)
    try:
        subject = load_subject(given.checkpoint)
    except (OSError, ValueError) as error:
        parser.error(f"--checkpoint {given.checkpoint}: {error}")
    given.output.mkdir(parents=True, exist_ok=True)
    _introduce(subject, image, given.image)

    points_per_side = given.points_per_side or (8 if subject.is_random else 16)
    found = segment_everything(subject, image, points_per_side)
    path = given.output / "everything.png"
    save_everything(found, image, path)
    clicks = points_per_side**2
    _report(f"Everything: {len(found.scores)} masks from {clicks} clicks in {found.seconds:.1f} s -> {path}", found)

    found = segment_click(subject, image, point)
    path = given.output / "click.png"
    save_click(found, image, point, path)
    _report(f"One click at x={point[0]}, y={point[1]}: best of three in {found.seconds:.1f} s -> {path}", found)
    return 0


def _show_clip(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    try:
        tracker = load_tracker(given.checkpoint)
    except (OSError, ValueError) as error:
        parser.error(f"--checkpoint {given.checkpoint}: {error}")
    given.output.mkdir(parents=True, exist_ok=True)
    _introduce_tracker(tracker, given.video)
    path = given.output / "tracked.mp4"
    if path.resolve() == Path(given.video).resolve():
        parser.error(f"--video {given.video} would be overwritten; give another --output")
    point = None if given.click is None else tuple(given.click)
    frames = given.frames or (RANDOM_FRAMES if tracker.is_random else None)
    try:
        tracked = track_click(tracker, given.video, point, path, frames)
    except (OSError, ValueError) as error:
        parser.error(f"--video {given.video}: {error}")
    count = len(tracked.areas)
    print(f"\nOne click on the first of {count} frames, {tracked.seconds / count:.2f} s a frame -> {path}")
    print(f"{'frame':>6} {'area':>9} {'object score':>13}")
    for frame in range(0, count, -(-count // _SHOWN_ROWS)):
        print(f"{frame:>6} {tracked.areas[frame]:>9} {tracked.scores[frame]:>13.2f}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sam2_hf.demo", description=main.__doc__)
    parser.add_argument("--image", help="a picture; without it, the demo draws one")
    parser.add_argument("--video", help="a clip, in place of a picture: a file, a folder of pictures, an address")
    parser.add_argument(
        "--checkpoint",
        help="a folder or a name on the Hub, e.g. facebook/sam2.1-hiera-tiny; without it, random weights",
    )
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the results")
    parser.add_argument("--click", type=int, nargs=2, metavar=("X", "Y"), help="in pixels; by default the middle")
    parser.add_argument(
        "--points-per-side", type=int, help="of the grid clicked for everything; 16, or 8 with random weights"
    )
    parser.add_argument("--frames", type=int, help=f"of the clip; all, or {RANDOM_FRAMES} with random weights")
    return parser


def _choose_point(parser: argparse.ArgumentParser, given: argparse.Namespace, image: Image.Image) -> tuple[int, int]:
    """Where to click, (x, y): as asked for, else on the drawn scene's largest ball, else in the middle."""
    if given.click is None:
        return CLICK if given.image is None else (image.width // 2, image.height // 2)
    x, y = given.click
    if not (0 <= x < image.width and 0 <= y < image.height):
        parser.error(f"--click {x} {y} lies outside the picture of {image.width} x {image.height} pixels")
    return x, y


def _introduce(subject: Subject, image: Image.Image, path: str | None) -> None:
    parameters = sum(parameter.numel() for parameter in subject.model.parameters()) / 1e6
    device = subject.model.device
    print(f"sam2_hf {__version__}, torch {torch.__version__}, {device}, {torch.get_num_threads()} threads")
    print(f"Model:   {subject.name}, {parameters:.1f} million parameters")
    print(f"Picture: {path or 'drawn by the demo'}, {image.width} x {image.height}")
    if subject.is_random:
        chosen = ", ".join(f"{name}={value:g}" for name, value in {**subject.choosing, **subject.cutting}.items())
        print(
            "\nRANDOM WEIGHTS: no checkpoint was given. The masks show that every part runs at full size, and nothing\n"
            "of what a trained model finds; their scores are noise. So that there is something to see at all, the\n"
            f"defaults give way to {chosen}.\n"
            "With trained weights: make demo CHECKPOINT=facebook/sam2.1-hiera-tiny"
        )


def _introduce_tracker(tracker: Tracker, path: str) -> None:
    parameters = sum(parameter.numel() for parameter in tracker.model.parameters()) / 1e6
    print(
        f"sam2_hf {__version__}, torch {torch.__version__}, {tracker.model.device}, {torch.get_num_threads()} threads"
    )
    print(f"Model:   {tracker.name}, {parameters:.1f} million parameters")
    print(f"Clip:    {path}")
    if tracker.is_random:
        print(
            "\nRANDOM WEIGHTS: no checkpoint was given. The clip shows that every part runs at full size, and nothing\n"
            "of what a trained model follows. With trained weights:\n"
            f"make demo VIDEO={path} CHECKPOINT=facebook/sam2.1-hiera-tiny"
        )


def _report(title: str, found: Found) -> None:
    print(f"\n{title}")
    print(f"{'mask':>6} {'predicted IoU':>14} {'area':>9}   box (left, top, right, bottom)")
    for number, score, area, box in found.rows()[:_SHOWN_ROWS]:
        print(f"{number:>6} {score:>14.3f} {area:>9}   {'empty' if box is None else ' '.join(f'{x:>4}' for x in box)}")
    if len(found.scores) > _SHOWN_ROWS:
        print(f"   ... and {len(found.scores) - _SHOWN_ROWS} more")


if __name__ == "__main__":
    logging.disable_progress_bar()  # loading takes a moment; what it warns of is shown
    raise SystemExit(main())
