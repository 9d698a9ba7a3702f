"""Several sessions in one batch, beside the same sessions one after the other: frames a second.

`python -m benchmarks.together` hands new frames to 1, 2, 4 and 8 streams of one object each, in turns: all of them by
one `model.step`, and each by a call of its own. The frames are prepared before, so that the model's work alone counts.
Times are medians over the turns; where the machine has other work, ratios of processor time alone say something.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_FILLING = 8  # frames until each object reads as many memories as it ever does


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.together", description=main.__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--checkpoint", help="folder or name; the bundled one by default")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--device", default="cpu", help='such as "cuda"')
    parser.add_argument("--dtype", help='such as "bfloat16"')
    parser.add_argument("--turns", type=int, default=8, help="frames of each session and each way that are timed")
    parser.add_argument("--compile", help='preset of `model.compile`, such as "throughput"')
    given = parser.parse_args(arguments)
    from sam2_hf import Tracker

    tracker = Tracker(given.checkpoint, given.device, given.dtype, given.image_size)
    if given.compile:
        tracker.model.compile(given.compile)
    sys.stdout.write("| sessions | alone, frames/s | together, frames/s | time, ratio | processor time, ratio |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    for count in given.sessions:
        alone, together = measure(tracker, count, given.turns)
        rates = " | ".join(f"{count / way.seconds:.2f}" for way in (alone, together))
        sys.stdout.write(
            f"| {count} | {rates} | {together.seconds / alone.seconds:.2f} | "
            f"{together.processor / alone.processor:.2f} |\n"
        )
        sys.stdout.flush()
    return 0


class Seconds(NamedTuple):
    """What one frame of all sessions takes: on the clock, and of the processor."""

    seconds: float
    processor: float


def measure(tracker: Any, count: int, turns: int) -> tuple[Seconds, Seconds]:
    """Time sessions in turns.

    Args:
        tracker: a `Tracker`.
        count: how many sessions.
        turns: how many frames of each are timed.

    Returns:
        What a frame of all sessions takes one after the other, and in one batch.
    """
    frames = _frames(tracker, count)
    apart, joined = _sessions(tracker, count), _sessions(tracker, count)

    def alone() -> None:
        for session, frame in zip(apart, frames, strict=True):
            tracker.model(session, frame=frame)

    def together() -> None:
        tracker.model.step(joined, frames=frames)

    for _ in range(_FILLING):
        alone()
        together()
    measured: dict[Callable[[], None], list[Seconds]] = {alone: [], together: []}
    for turn in range(turns):
        for way in (alone, together) if turn % 2 else (together, alone):
            measured[way].append(_timed(way, tracker.model.device.type))
    first, second = (Seconds(*map(statistics.median, zip(*times, strict=True))) for times in measured.values())
    return first, second


def _timed(way: Callable[[], None], device: str) -> Seconds:
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    started, used = time.perf_counter(), time.process_time()
    way()
    wait()
    return Seconds(time.perf_counter() - started, time.process_time() - used)


def _frames(tracker: Any, count: int) -> list[Any]:
    """A frame for each session, with a disc of its own."""
    import numpy as np

    size = 256
    y, x = np.mgrid[:size, :size]
    frames = []
    for index in range(count):
        disc = (x - 128) ** 2 + (y - 128) ** 2 < (20 + 8 * index) ** 2
        image = np.where(disc[..., None], (220, 60, 40), (30, 90 + 10 * index, 120)).astype(np.uint8)
        inputs = tracker.processor(images=image, return_tensors="pt")
        frames.append(inputs.pixel_values[0].to(tracker.model.device, tracker.model.dtype))
    return frames


def _sessions(tracker: Any, count: int) -> list[Any]:
    """Streams with one object each, clicked on the frame to come."""
    sessions = [tracker.open_session() for _ in range(count)]
    for session in sessions:
        tracker.processor.add_inputs_to_inference_session(
            session, 0, [1], input_points=[[[[128, 128]]]], input_labels=[[[1]]], original_size=(256, 256)
        )
    return sessions


if __name__ == "__main__":
    sys.exit(main())
