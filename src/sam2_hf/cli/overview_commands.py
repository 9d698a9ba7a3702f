"""`sam2 checkpoints` and `sam2 info`: what there is to run, and what it runs on."""

from __future__ import annotations

import json
import platform
import time
from typing import Any

import typer

from ..hub.bundled import bundled_checkpoint
from ..presets import PRESETS
from ..version import __version__
from . import arguments
from .arguments import AsJson, Checkpoint, Device, Dtype, ImageSize

_CLICKS = 10


def checkpoints(json_output: AsJson = False) -> None:
    """List the checkpoints: the bundled one, and those of the Hub with whether they are cached."""
    import huggingface_hub

    found: list[dict[str, Any]] = [{"name": bundled_checkpoint(), "state": "bundled"}]
    for preset in PRESETS:
        name = f"facebook/{preset}"
        cached = huggingface_hub.try_to_load_from_cache(name, "model.safetensors")
        found.append({"name": name, "state": "cached" if isinstance(cached, str) else "on the Hub"})
    text = "\n".join(f"{entry['state']:>10}  {entry['name']}" for entry in found)
    typer.echo(json.dumps(found, indent=2) if json_output else text)


def info(
    checkpoint: Checkpoint = None,
    device: Device = None,
    dtype: Dtype = None,
    image_size: ImageSize = None,
    json_output: AsJson = False,
) -> None:
    """Show versions, the device, and how long a click takes."""
    arguments.prepare_process(quiet=True)
    import numpy as np
    import torch
    import transformers

    from ..predictors.loaded_models import best_device
    from ..predictors.segmenter import Segmenter

    segmenter = Segmenter(checkpoint, device, dtype, arguments.read_image_size(image_size))
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    start = time.perf_counter()
    encoded = segmenter.encode(image)
    encoding = time.perf_counter() - start
    encoded.segment(points=(320, 240))  # the first call sets things up
    start = time.perf_counter()
    for _ in range(_CLICKS):
        encoded.segment(points=(320, 240))
    facts = {
        "sam2_hf": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "device": str(segmenter.model.device),
        "default_device": best_device(),
        "threads": torch.get_num_threads(),
        "checkpoint": segmenter.loaded.checkpoint,
        "encoding_ms": round(1000 * encoding, 1),
        "click_ms": round(1000 * (time.perf_counter() - start) / _CLICKS, 1),
    }
    text = "\n".join(f"{name}: {value}" for name, value in facts.items())
    typer.echo(json.dumps(facts, indent=2) if json_output else text)
