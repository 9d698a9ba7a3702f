"""Smaller inputs: time at several input sizes, and what of the masks is left.

    python -m benchmarks.image_sizes speed       # a tracked frame with one and eight objects, by the input's size
    python -m benchmarks.image_sizes quality     # the bundled checkpoint on images and clips of the synthetic world

`speed` has a random model with the architecture of sam2.1-hiera-tiny and takes about three minutes on two cores. The
objects are prompted on six frames, so that the frames that are timed read seven memories, as they do from the seventh
frame of any clip on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from sam2_hf import Sam2Model, Sam2Processor, Sam2VideoModel, Sam2VideoProcessor, bundled_checkpoint
from sam2_hf.configuration_sam2 import Sam2VideoConfig
from sam2_hf.training.evaluation.metrics import region_similarity, summarise
from sam2_hf.training.evaluation.tracking_evaluation import evaluate_tracking
from sam2_hf.training.synthetic.world import SyntheticVideos

from .random_model import random_model

SIZES, SMALL_SIZES = (1024, 768, 512, 384, 256), (384, 320, 256, 192, 128)
COUNTS = (1, 8)
PROMPTED, TIMED = 6, 3


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "quality"))
    parser.add_argument("--images", type=int, default=60, help="of the validation split, for quality")
    parser.add_argument("--clips", type=int, default=20, help="of the validation split, for quality; 0 for none")
    options = parser.parse_args(arguments)
    table = _speeds() if options.what == "speed" else _qualities(options.images, options.clips)
    for row in table:
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()
    return 0


def _speeds() -> Iterator[list[str]]:
    yield ["input", "encoding", *(f"a tracked frame, {count} object{'s' * (count > 1)}" for count in COUNTS)]
    yield ["---"] * (2 + len(COUNTS))
    full: list[float] = []
    for size in SIZES:
        model = random_model(Sam2VideoConfig.from_preset("sam2.1-hiera-tiny", image_size=size), 0, Sam2VideoModel)
        processor = Sam2VideoProcessor.from_preset("sam2.1-hiera-tiny", image_size=size)
        times = [_encoding_time(model, size), *(_frame_time(model, processor, count) for count in COUNTS)]
        full = full or times
        shown = [f"{1000 * each:.0f} ms ({first / each:.1f}x)" for each, first in zip(times, full, strict=True)]
        yield [str(size), *shown]


@torch.inference_mode()
def _encoding_time(model: Sam2VideoModel, size: int) -> float:
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return _median(lambda: model.encode_maps(pixels))


def _frame_time(model: Sam2VideoModel, processor: Sam2VideoProcessor, count: int) -> float:
    """Seconds for a tracked frame with full memories."""
    frames = np.random.default_rng(0).integers(0, 255, (PROMPTED + TIMED + 1, 240, 320, 3), np.uint8)
    session = processor.init_video_session(frames)
    masks = [_disc(index, count) for index in range(count)]
    for frame in range(PROMPTED):
        processor.add_inputs_to_inference_session(session, frame, list(range(count)), input_masks=masks)
    model(session, frame_idx=PROMPTED)  # segments the prompts first
    following = iter(range(PROMPTED + 1, PROMPTED + 1 + TIMED))
    return _median(lambda: model(session, frame_idx=next(following)))


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(TIMED):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _disc(index: int, count: int) -> np.ndarray:
    y, x = np.mgrid[:240, :320]
    return (x - 320 * (index + 0.5) / count) ** 2 + (y - 120) ** 2 < 15**2


def _qualities(images: int, clips: int) -> Iterator[list[str]]:
    yield ["input", "IoU with the full size", "IoU with the truth, box", "J&F of clips"]
    yield ["---"] * 4
    stills = SyntheticVideos(images, split="validation", moving=False, objects=(3, 8))
    full = list(_box_masks(SMALL_SIZES[0], stills))
    for size in SMALL_SIZES:
        found = full if size == SMALL_SIZES[0] else list(_box_masks(size, stills))
        agreement = np.mean([region_similarity(mask, same) for (mask, _), (same, _) in zip(found, full, strict=True)])
        truth = np.mean([region_similarity(mask, wanted) for mask, wanted in found])
        yield [str(size), f"{agreement:.3f}", f"{truth:.3f}", f"{_tracking(size, clips):.3f}" if clips else "-"]


@torch.inference_mode()
def _box_masks(size: int, stills: Iterable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The mask for the box of each object, and the true mask."""
    model = Sam2Model.from_pretrained(bundled_checkpoint(), image_size=size).eval()
    processor = Sam2Processor.from_pretrained(bundled_checkpoint(), image_size=size)
    for video in stills:
        masks = [mask for mask in video.masks(0).values() if mask.sum() >= 20]
        boxes = [_box(mask) for mask in masks]
        inputs = processor(video.image(0), input_boxes=[boxes], return_tensors="pt")
        (found,) = processor.post_process_masks(
            model(**inputs, multimask_output=False).pred_masks, inputs["original_sizes"]
        )
        yield from zip(found[:, 0].numpy(), masks, strict=True)


def _box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _tracking(size: int, clips: int) -> float:
    model = Sam2VideoModel.from_pretrained(bundled_checkpoint(), image_size=size).eval()
    processor = Sam2VideoProcessor.from_pretrained(bundled_checkpoint(), image_size=size)
    return summarise(evaluate_tracking(model, processor, SyntheticVideos(clips, split="validation")))["J&F"]


if __name__ == "__main__":
    sys.exit(main())
