"""What a run of a million clips costs beside the model, from small measurements; and the table of docs/scale.md.

    python -m benchmarks.batch_plan --clips 1000000 --frames 240 --rate 60 --gpus 8 64 512

`--rate` is what a GPU tracks, frames a second; measure it on yours with `sam2 batch`. Everything else is measured here,
as CPU time: hashing and pickling the rows, reading manifests, finishing a shard, and decoding 1280 x 720 pixels.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sam2_hf.results.records import ImageRecord, ObjectMask, encode_masks
from sam2_hf.scale.result_table import clip_rows
from sam2_hf.scale.rows import CLIP, Row
from sam2_hf.scale.shard_store import Shard, ShardStore
from sam2_hf.scale.sources import FileSource
from sam2_hf.video_io.open_video import open_video
from sam2_hf.video_io.write_video import write_video

from .batch_report import cpu_seconds, say

_SIZE = (720, 1280)
_SAMPLE_CLIPS, _SAMPLE_MASKS, _SAMPLE_SHARDS, _SAMPLE_FRAMES = 2, 200, 500, 96


def main(arguments: list[str] | None = None) -> int:
    """Measure, calculate, and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=240, help="of a clip")
    parser.add_argument("--rate", type=float, default=60.0, help="frames a second that a GPU tracks")
    parser.add_argument("--rows-a-shard", type=int, default=64)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 512])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = {**_plan(options.clips), **_store(Path(folder), options), **_decoding(Path(folder))}
    say("measured", "figure")
    say("---", "---")
    for name, (value, unit) in found.items():
        say(name, f"{value:.3g} {unit}")
    sys.stdout.write("\n")
    _calculate(options, {name: value for name, (value, _) in found.items()})
    return 0


def _plan(clips: int) -> dict[str, tuple[float, str]]:
    names = [f"clips/{number // 1000:04d}/{number:07d}.mp4" for number in range(clips)]
    source = FileSource(names)
    hashed = cpu_seconds(source.fingerprint)
    pickled = pickle.dumps(source)
    return {
        "hash the names of all clips": (hashed, "s"),
        "job that each process gets": (len(pickled) / 1e6, "MB"),
        "read it": (cpu_seconds(lambda: pickle.loads(pickled)), "s"),
    }


def _store(folder: Path, options: argparse.Namespace) -> dict[str, tuple[float, str]]:
    """Finish a shard of clips with one object, without the model; then read its manifest many times."""
    store = ShardStore(folder)
    store.open({})
    y, x = np.mgrid[: _SIZE[0], : _SIZE[1]]
    rng = np.random.default_rng(0)

    def draw(frame: int) -> np.ndarray:
        """A disc with an uneven edge, as masks have it; (height, width) bool."""
        edge = np.repeat(np.repeat(rng.normal(0, 12, (90, 160)), 8, 0), 8, 1)
        return np.hypot(y - 360, x - 400 - frame) + edge < 150

    rles = [encode_masks(draw(frame)[None])[0] for frame in range(_SAMPLE_MASKS)]

    def records_of(clip: int) -> list[ImageRecord]:
        numbers = rng.integers(0, _SAMPLE_MASKS, options.frames)
        return [
            ImageRecord([ObjectMask("object", rles[number], float(rng.random()), 5.0)], _SIZE, frame=frame)
            for frame, number in enumerate(numbers)
        ]

    clips = [records_of(clip) for clip in range(_SAMPLE_CLIPS)]

    def finish(shard: Shard) -> None:
        store.write(shard, (list(clip_rows(Row(str(n), CLIP), found, 24.0)) for n, found in enumerate(clips)))

    seconds = cpu_seconds(lambda: finish(Shard(0, 0, _SAMPLE_CLIPS)))
    size = store.path(Shard(0, 0, _SAMPLE_CLIPS)).stat().st_size
    shard = Shard(0, 0, _SAMPLE_CLIPS)
    read = cpu_seconds(lambda: [store.finished(shard) for _ in range(_SAMPLE_SHARDS)]) / _SAMPLE_SHARDS
    return {
        "write a clip's results": (1000 * seconds / _SAMPLE_CLIPS, "ms"),
        "results of a clip": (size / _SAMPLE_CLIPS / 1e3, "kB"),
        "look at a shard": (1e6 * read, "us"),
    }


def _decoding(folder: Path) -> dict[str, tuple[float, str]]:
    rng = np.random.default_rng(0)
    wide = np.repeat(np.repeat(rng.integers(0, 255, (90, 200, 3), dtype=np.uint8), 8, 0), 8, 1)
    frames = [wide[:, 3 * number : 3 * number + _SIZE[1]] for number in range(_SAMPLE_FRAMES)]
    write_video(folder / "clip.mp4", frames, fps=24.0)

    def read() -> None:
        with open_video(folder / "clip.mp4", prefetch=0) as clip:
            for _ in clip.iterate():
                pass

    return {"decode a frame of 1280 x 720": (1000 * cpu_seconds(read) / _SAMPLE_FRAMES, "ms")}


def _calculate(options: argparse.Namespace, found: dict[str, float]) -> None:
    clip = options.frames / options.rate
    shards = -(-options.clips // options.rows_a_shard)
    cores = options.rate * found["decode a frame of 1280 x 720"] / 1000
    say("GPUs", *map(str, options.gpus))
    say("---", *("---" for _ in options.gpus))
    rows: dict[str, Callable[[int], str]] = {
        "hours": lambda gpus: f"{options.clips * clip / gpus / 3600:.1f}",
        "clips a second": lambda gpus: f"{gpus / clip:.1f}",
        "cores that decode": lambda gpus: f"{gpus * cores:.0f}",
        "files that are finished in a second": lambda gpus: f"{2 * gpus / clip / options.rows_a_shard:.2f}",
        "results, MB/s": lambda gpus: f"{gpus / clip * found['results of a clip'] / 1e3:.2f}",
        "shards of each GPU": lambda gpus: f"{shards / gpus:.0f}",
        "idle at the end, at most": lambda gpus: f"{100 * gpus / shards:.1f} %",
        "minutes that a GPU loses when it is killed, on average": lambda gpus: (
            f"{options.rows_a_shard * clip / 120:.1f}"
        ),
        "seconds to resume": lambda gpus: (
            f"{shards * found['look at a shard'] / 1e6 + found['hash the names of all clips']:.0f}"
        ),
    }
    for name, value in rows.items():
        say(name, *map(value, options.gpus))


if __name__ == "__main__":
    sys.exit(main())
