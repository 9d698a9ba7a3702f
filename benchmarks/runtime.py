"""The runtime without torch against our models in torch and those of transformers, on a CPU.

    python -m benchmarks.runtime graphs                                    # an exported video checkpoint's folder
    python -m benchmarks.runtime graphs --checkpoint checkpoint --threads 2
    python -m benchmarks.runtime graphs --engines torch,onnx,onnx-int8 --runs 3

Each figure is a median of `--runs`, measured in a process of its own. A tracked frame reads the memories of seven
earlier ones. "start" is a cold Python up to the first mask of an image; "peak" is the resident memory of tracking eight
objects; "disk" is what the engine reads. The folder is written by
`sam2 export CHECKPOINT graphs --dtype fp32,fp16,int8`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .memory import peak_bytes

ENGINES = ("torch", "transformers", "onnx", "onnx-fp16", "onnx-int8")
ROWS = ("encode", "click", "64 prompts", "a frame, 1 object", "a frame, 8 objects", "start", "peak", "disk")
_FILLING = 8  # frames until a frame reads seven memories


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with exported graphs")
    parser.add_argument("--checkpoint", default="bundled", help="the same weights in torch: a folder, or bundled")
    parser.add_argument("--engines", help=f"of {', '.join(ENGINES)}, with commas; by default all that the folder has")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--measure", choices=ROWS[:-1], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    engines = options.engines.split(",") if options.engines else _engines_of(options.folder)
    if options.measure is not None:
        sys.stdout.write(json.dumps(measure(options, engines[0], options.measure)) + "\n")
        return 0
    sys.stdout.write("| | " + " | ".join(engines) + " |\n" + "|---" * (len(engines) + 1) + "|\n")
    for row in ROWS:
        cells = [_shown(row, _in_process(options, engine, row)) for engine in engines]
        sys.stdout.write(f"| {row} | " + " | ".join(cells) + " |\n")
        sys.stdout.flush()
    return 0


def _engines_of(folder: Path) -> list[str]:
    """Both libraries in torch, and onnxruntime with each dtype that an exported folder has."""
    from sam2_hf.runtime.exported_folder import ExportedFolder

    kinds = ["onnx" if dtype == "fp32" else f"onnx-{dtype}" for dtype in ExportedFolder(folder).files]
    return ["torch", "transformers", *kinds]


def measure(options: argparse.Namespace, engine: str, row: str) -> float:
    """Measure one figure in this process.

    Args:
        options: of the command.
        engine: one of `ENGINES`.
        row: one of `ROWS`, not the disk's.

    Returns:
        Seconds, or bytes.
    """
    start = time.perf_counter()
    run: Any = _OnnxRun(options, engine) if engine.startswith("onnx") else _TorchRun(options, engine)
    if row == "start":
        run.click(run.encode(), 1)
        return time.perf_counter() - start
    if row in ("encode", "click", "64 prompts"):
        encoded = run.encode()
        jobs = {"encode": run.encode, "click": lambda: run.click(encoded, 1)}
        return _median(jobs.get(row, lambda: run.click(encoded, 64)), options.runs)
    step = run.track(8 if row == "peak" or "8" in row else 1)
    for _ in range(_FILLING):
        step()
    seconds = _median(step, options.runs)
    return peak_bytes() if row == "peak" else seconds


class _OnnxRun:
    """The graphs of a folder. Imports no torch."""

    def __init__(self, options: argparse.Namespace, engine: str):
        from sam2_hf.runtime import Segmenter, Tracker

        how = {"dtype": engine.partition("-")[2] or "fp32", "threads": options.threads}
        self._segmenter = Segmenter(options.folder, **how)
        self._tracker = Tracker(options.folder, **how)
        self._size = self._segmenter.processor.folder.image_size

    def encode(self) -> Any:
        pixels = np.zeros((1, 3, *self._size), np.float32)
        names = [f"image_embeddings.{level}" for level in range(3)]
        return self._segmenter.model.run("vision_encoder", {"pixel_values": pixels}, names)

    def click(self, encoded: Any, count: int) -> Any:
        inputs = {
            "input_points": _points(count, self._size)[None, :, None],
            "input_labels": np.ones((1, count, 1), np.int64),
            "input_boxes": np.zeros((1, 0, 4), np.float32),
        }
        return self._segmenter.engine.decode_inputs(encoded, inputs, multimask=True)  # type: ignore[attr-defined]

    def track(self, objects: int) -> Callable[[], Any]:
        session = self._tracker.open_session()
        _prompt(self._tracker.processor, session, objects, self._size)
        frame = np.zeros((3, *self._size), np.float32)
        return lambda: self._tracker.model(session, frame=frame)


class _TorchRun:
    """A model in torch, ours or that of transformers."""

    def __init__(self, options: argparse.Namespace, engine: str):
        import torch

        from sam2_hf import bundled_checkpoint

        torch.set_num_threads(options.threads)
        self._name = "ours" if engine == "torch" else engine
        self._weights = Path(bundled_checkpoint() if options.checkpoint == "bundled" else options.checkpoint)
        self._threads = options.threads
        self._loaded: Any = None

    def encode(self) -> Any:
        import torch

        model = self._model()
        with torch.inference_mode():
            return self._implementation().encode(model, torch.zeros(1, 3, *self._size()))

    def click(self, encoded: Any, count: int) -> Any:
        import torch

        points = torch.from_numpy(_points(count, self._size()))
        with torch.inference_mode():
            return self._implementation().segment(self._model(), encoded, points)

    def track(self, objects: int) -> Callable[[], Any]:
        import torch
        from PIL import Image

        from .case import Runtime
        from .images import Clip

        size = self._size()
        clip = Clip(Image.new("RGB", (size[1], size[0])), size[0], 1000)
        runtime = Runtime(threads=self._threads)
        points = torch.from_numpy(_points(objects, size))
        frames = self._implementation().track(self._weights, runtime, clip, points).frames

        def step() -> None:
            with torch.inference_mode():
                next(frames)

        return step

    def _implementation(self) -> Any:
        from .implementations import IMPLEMENTATIONS

        return IMPLEMENTATIONS[self._name]

    def _model(self) -> Any:
        from .case import Runtime

        if self._loaded is None:
            self._loaded = self._implementation().image_model(self._weights, Runtime(threads=self._threads))
        return self._loaded

    def _size(self) -> tuple[int, int]:
        from sam2_hf.sizes import read_size

        return read_size(self._model().config.vision_config.backbone_config.image_size, "image_size")


def _points(count: int, size: tuple[int, int]) -> np.ndarray:
    """Points (count, 2) as (x, y), spread over an input of (height, width)."""
    steps = (np.arange(count, dtype=np.float32) + 0.5) / count
    return np.stack([steps * size[1], (steps * 7 % 1) * size[0]], axis=1).astype(np.float32)


def _prompt(processor: Any, session: Any, objects: int, size: tuple[int, int]) -> None:
    points = [[[point] for point in _points(objects, size).tolist()]]
    processor.add_inputs_to_inference_session(
        session, 0, list(range(objects)), points, [[[1]] * objects], original_size=size
    )


def _median(job: Callable[[], Any], runs: int) -> float:
    job()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _in_process(options: argparse.Namespace, engine: str, row: str) -> float | None:
    """A figure from a new process; None where the engine cannot give it."""
    if row == "disk":
        return _bytes_on_disk(options, engine)
    settings = ["--checkpoint", options.checkpoint, "--threads", str(options.threads), "--runs", str(options.runs)]
    command = [sys.executable, "-m", "benchmarks.runtime", str(options.folder), "--engines", engine, *settings]
    start = time.perf_counter()
    done = subprocess.run([*command, "--measure", row], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.stderr.write(f"{engine}, {row}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}\n")
        return None
    return seconds if row == "start" else json.loads(done.stdout.splitlines()[-1])


def _bytes_on_disk(options: argparse.Namespace, engine: str) -> float:
    if engine.startswith("onnx"):
        from sam2_hf.runtime.exported_folder import ExportedFolder

        folder, dtype = ExportedFolder(options.folder), engine.partition("-")[2] or "fp32"
        used = [name for name in folder.files.get(dtype, {}) if name not in ("memory_attention_fixed",)]
        return sum(folder.graph(name, dtype).stat().st_size for name in used)
    from sam2_hf import bundled_checkpoint

    weights = Path(bundled_checkpoint() if options.checkpoint == "bundled" else options.checkpoint)
    return sum(path.stat().st_size for path in weights.glob("*.safetensors"))


def _shown(row: str, value: float | None) -> str:
    if value is None:
        return "-"
    if row in ("peak", "disk"):
        return f"{value / 2**20:.0f} MiB"
    return f"{value:.2f} s" if row == "start" else f"{1000 * value:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
