"""How long the server of the app needs for a click, from the request to the message for the page.

    python -m benchmarks.app_clicks --image photo.jpg --threads 2

Every third click is on a new object. The model is the bundled checkpoint. "core" is the time of the processor, all
threads together; other programs change it little. "wall" is what a person waits for, without the network.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import torch
from PIL import Image

from sam2_hf.app.changes import change_image
from sam2_hf.app.image_work import ImageWork
from sam2_hf.app.stage import Sender, image_message
from sam2_hf.fast.allocator import keep_freed_memory
from sam2_hf.hub.bundled import bundled_checkpoint
from sam2_hf.predictors.segmenter import Segmenter

SIZES = ((1024, 768), (1800, 1200), (4000, 3000))
_CLICKS = 21


def time_clicks(segmenter: Segmenter, image: Image.Image) -> tuple[list[float], list[float]]:
    """Click on an image.

    Returns:
        Seconds of the processor, and seconds that pass, for each click but the first.
    """
    work, sender = ImageWork(segmenter, image), Sender()
    image_message(work, sender)
    core, wall = [], []
    for index in range(_CLICKS):
        if index % 3 == 0:
            change_image(work, {"kind": "new"})
        x, y = image.width * (0.2 + 0.02 * index), image.height * 0.5
        start = time.process_time(), time.perf_counter()
        change_image(work, {"kind": "point", "x": x, "y": y, "label": 1})
        image_message(work, sender)
        core.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return core[1:], wall[1:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each size of the image. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="a photograph, resized; noise by default")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    segmenter = Segmenter(bundled_checkpoint())
    sys.stdout.write(f"{'pixels':>12} {'core, ms':>18} {'wall, ms':>18}   median (largest) of {_CLICKS - 1} clicks\n")
    for size in SIZES:
        drawn = Image.open(given.image).convert("RGB") if given.image else Image.effect_noise((512, 512), 90)
        core, wall = time_clicks(segmenter, drawn.convert("RGB").resize(size))
        columns = [f"{1000 * statistics.median(times):8.1f} ({1000 * max(times):.1f})" for times in (core, wall)]
        sys.stdout.write(f"{size[0]:>7}x{size[1]:<4} {columns[0]:>18} {columns[1]:>18}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
