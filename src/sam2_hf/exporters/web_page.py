"""A page beside the graphs, on which one clicks an image and tracks a clip, in a browser and with no server program."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from PIL import Image

from ..training.synthetic.world import SyntheticVideos

RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page needs of the npm package onnxruntime-web."""
GRAPHS = (
    "vision_encoder",
    "tracked_mask_decoder",
    "tracked_mask_decoder_with_masks",
    "memory_attention",
    "memory_encoder",
)
"""The graphs that the page runs."""
PAGE = Path(__file__).parent / "web"
SAMPLE_SIZE, CLIP_LENGTH = (384, 384), 8
IMAGE, CLIP = 4, 5  # of the synthetic world's test split


def find_runtime(package: str | os.PathLike[str]) -> Path:
    """Find the files of onnxruntime-web.

    Args:
        package: the installed npm package `node_modules/onnxruntime-web`, a folder above it, or its folder `dist`.

    Returns:
        The folder with the files.

    Raises:
        FileNotFoundError: they are not there; it says how to get them.
    """
    root = Path(package)
    for folder in (root, root / "dist", root / "node_modules/onnxruntime-web/dist", root / "onnxruntime-web/dist"):
        if all((folder / name).is_file() for name in RUNTIME_FILES):
            return folder
    raise FileNotFoundError(
        f"{package} has no {', '.join(RUNTIME_FILES)}: name the npm package, after npm install onnxruntime-web"
    )


def write_page(folder: Path, runtime: Path) -> None:
    """Write the page, onnxruntime-web, and a sample image and clip beside graphs.

    Args:
        folder: the folder that has `onnx/` and `parameters.json`.
        runtime: as `find_runtime` gives it.
    """
    for path in sorted(PAGE.iterdir()):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    (folder / "ort").mkdir()
    for name in RUNTIME_FILES:
        shutil.copyfile(runtime / name, folder / "ort" / name)
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        licence = runtime.parent / name
        if licence.is_file():
            shutil.copyfile(licence, folder / "ort" / name)
    _write_samples(folder / "samples")


def _write_samples(folder: Path) -> None:
    """An image and the frames of a clip of the synthetic world, which the bundled checkpoint knows."""
    folder.mkdir()
    still = SyntheticVideos(1000, split="test", size=SAMPLE_SIZE, objects=(7, 9), moving=False)[IMAGE]
    Image.fromarray(still.render(range(1)).frames[0]).save(folder / "image.jpg", quality=95)
    names = []
    clip = SyntheticVideos(1000, split="test", size=SAMPLE_SIZE, objects=(3, 4))[CLIP]
    for index, frame in enumerate(clip.render(range(CLIP_LENGTH)).frames):
        names.append(f"samples/{index:03d}.jpg")
        Image.fromarray(frame).save(folder / f"{index:03d}.jpg", quality=95)
    (folder / "clip.json").write_text(json.dumps(names), encoding="utf-8")
