"""Images of any size: the memory and the time that they take in tiles, and how tiles agree with one large crop.

`python -m benchmarks.tiles` draws a tiled TIFF of 20 000 x 20 000 pixels, segments everything in it and clicks on some
objects, each in a process of its own, and prints the peak of its resident memory. `--agreement` instead compares masks
across four tiles with those from one crop that holds the object. Needs tifffile. The bundled checkpoint is used.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CELL = 1000
"""Side of the drawn images that the large one is made of, in pixels."""
TILE = 512
"""Side of the tiles of the file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, measure, and print a table."""
    given = _parser().parse_args(arguments)
    if given.worker:
        sys.stdout.write(json.dumps(measure(given)) + "\n")
        return 0
    if given.agreement:
        return _print_agreement(given)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "drawn.tif"
        draw(path, given.side)
        sys.stdout.write(
            "| work | objects | encoded | peak of memory, MiB | processor time, s |\n|---|---|---|---|---|\n"
        )
        for work in ("nothing", "click", "cached click", "everything"):
            command = [sys.executable, "-m", "benchmarks.tiles", "--worker", work, "--image", str(path)]
            command += ["--tile-size", str(given.tile_size), "--points", str(given.points)]
            row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            sys.stdout.write(
                f"| {work} | {row['objects']} | {row['encoded']} | {row['peak'] / 2**20:.0f} | {row['seconds']:.1f} |\n"
            )
            sys.stdout.flush()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiles", description=main.__doc__)
    parser.add_argument("--side", type=int, default=20_000, help="of the image, in pixels")
    parser.add_argument("--tile-size", type=int, default=2048)
    parser.add_argument("--points", type=int, default=8, help="along a side of a tile")
    parser.add_argument("--folder", help="where the image is drawn; some 1.2 GB")
    parser.add_argument("--agreement", action="store_true", help="compare tiles with one large crop")
    parser.add_argument("--images", type=int, default=10, help="for --agreement")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--image", help=argparse.SUPPRESS)
    return parser


def draw(path: Path, side: int) -> None:
    """Draw a tiled TIFF, a tile at a time: drawn images side by side, and four large discs across them.

    Args:
        path: of the file.
        side: of the image, in pixels.
    """
    import tifffile

    from sam2_hf.training.synthetic.world import SyntheticVideos

    videos = SyntheticVideos(100, split="test", size=(CELL, CELL), objects=(5, 8), moving=False)
    cells = [videos[index].image(0) for index in range(12)]

    def tiles() -> Iterator[np.ndarray]:
        for top in range(0, side, TILE):
            for left in range(0, side, TILE):
                yield _tile(cells, side, top, left)

    tifffile.imwrite(
        path, tiles(), shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb", bigtiff=True
    )


def _tile(cells: Sequence[np.ndarray], side: int, top: int, left: int) -> np.ndarray:
    rows, columns = np.mgrid[top : top + TILE, left : left + TILE]
    tile = np.empty((TILE, TILE, 3), np.uint8)
    for row in range(top // CELL, (top + TILE - 1) // CELL + 1):
        for column in range(left // CELL, (left + TILE - 1) // CELL + 1):
            here = (rows // CELL == row) & (columns // CELL == column)
            cell = cells[(5 * row + column) % len(cells)]
            tile[here] = cell[rows[here] % CELL, columns[here] % CELL]
    for number, (x, y) in enumerate(large_discs(side)):
        disc = np.hypot(columns - x, rows - y) < side / 10
        tile[disc] = (40 + 50 * number, 200 - 40 * number, 90)
    return tile


def large_discs(side: int) -> list[tuple[float, float]]:
    """The middles (x, y) of four discs, each a fifth of the image across."""
    return [(side * x, side * y) for x in (0.25, 0.75) for y in (0.25, 0.75)]


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Do one kind of work in this process, with the arguments of the command.

    Returns:
        How many "objects" were found, how many windows were "encoded", the "peak" of resident memory in bytes, and the
        "seconds" of processor time.
    """
    import torch

    from sam2_hf import Segmenter, bundled_checkpoint

    torch.set_num_threads(1)
    segmenter = Segmenter(bundled_checkpoint(), device="cpu")
    encoded = _count_calls(segmenter.model, "get_image_embeddings")
    begun, objects = time.process_time(), 0
    if given.worker == "everything":
        found = segmenter.segment_everything(given.image, tile_size=given.tile_size, points_per_crop=given.points)
        objects = len(found)
        found.to_geojson(Path(given.image).with_suffix(".geojson"))
    elif given.worker != "nothing":
        side = segmenter.open_tiled(given.image).size[0]
        points = {"disc": large_discs(side)[0], "cell": (side / 2 + CELL / 2, side / 2 + CELL / 2)}
        image = segmenter.open_tiled(given.image, given.tile_size, cache=Path(given.image).with_name("cache"))
        objects = sum(item.area > 0 for item in image.segment(points=points))
    return {
        "objects": objects,
        "encoded": encoded[0],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": time.process_time() - begun,
    }


def _count_calls(model: Any, name: str) -> list[int]:
    count, method = [0], getattr(model, name)

    def counted(*arguments: Any, **settings: Any) -> Any:
        count[0] += 1
        return method(*arguments, **settings)

    setattr(model, name, counted)
    return count


def _print_agreement(given: argparse.Namespace) -> int:
    sys.stdout.write(
        "| image | object across four tiles at | IoU, all levels | IoU, finest level alone |\n|---|---|---|---|\n"
    )
    for image, (x, y), scores in agreement(given.images):
        sys.stdout.write(f"| {image} | {x}, {y} | {scores['all']:.3f} | {scores['finest']:.3f} |\n")
        sys.stdout.flush()
    return 0


def agreement(images: int) -> Iterator[tuple[int, tuple[int, int], dict[str, float]]]:
    """Compare masks of objects that four tiles cut with those from one crop that holds them.

    Args:
        images: how many drawn images; each object of at least a tenth of the crop is put on the corner of four tiles.

    Yields:
        Number of the image, middle of the object, and the IoU with tiles of "all" levels and of the "finest" alone.
    """
    import torch
    from PIL import Image

    from sam2_hf import Segmenter, bundled_checkpoint
    from sam2_hf.demo.world import videos

    torch.set_num_threads(1)
    segmenter = Segmenter(bundled_checkpoint(), device="cpu")
    settings = {"points_per_crop": 16, "nms": "mask"}
    for number in range(images):
        video = videos(objects=(5, 8), moving=False)[number]
        large = Image.fromarray(video.image(0)).resize((1152, 1152), Image.Resampling.BICUBIC)
        for mask in video.masks(0).values():
            rows, columns = np.nonzero(mask)
            if not len(rows):
                continue
            y, x = round(1152 * rows.mean() / mask.shape[0]), round(1152 * columns.mean() / mask.shape[1])
            if not (300 <= x <= 852 and 300 <= y <= 852):
                continue
            crop = large.crop((x - 300, y - 300, x + 300, y + 300))
            whole = segmenter.segment_everything(crop, **settings)
            cut = [item for item in whole if max(item.box[:2]) < 236 and min(item.box[2:]) > 364]
            cut = [item for item in cut if item.mask[300, 300]]
            if not cut:
                continue
            best = max(cut, key=lambda item: item.score or 0).mask
            scores = {}
            for name, levels in (("all", None), ("finest", 1)):
                tiled = segmenter.segment_everything(
                    crop, **settings, tile_size=364, tile_overlap=128, tile_levels=levels
                )
                scores[name] = max((_iou(best, item.mask) for item in tiled), default=0.0)
            yield number, (x, y), scores


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


if __name__ == "__main__":
    sys.exit(main())
