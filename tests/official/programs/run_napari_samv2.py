# ruff: noqa: T201
"""napari-samv2's pipeline on a volume, with stand-ins for the viewer and the window; prints what came out.

The plugin itself asks for the properties of a CUDA device: without one, they are given here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from qtpy.QtWidgets import QApplication

if not torch.cuda.is_available():
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(major=7)

from pipelines.samv2.Samv2_pipeline_handler import SamV2_pipeline

application = QApplication([])
paths = sorted(Path("frames").iterdir())
volume = np.stack([np.array(Image.open(path).convert("L")) for path in paths])
layers = {"volume": SimpleNamespace(data=volume), "labels": SimpleNamespace(data=np.zeros(volume.shape, np.int32))}


def named(text: str) -> Any:
    return SimpleNamespace(currentText=lambda: text)


window = SimpleNamespace(
    image_layers_combo=named("volume"),
    output_layers_combo=named("labels"),
    interdir_lineedt=SimpleNamespace(text=lambda: "slices"),
    video_propagation_progressBar=SimpleNamespace(setValue=lambda value: None),
)
pipeline = SamV2_pipeline(SimpleNamespace(layers=layers), window, "checkpoint", None)
pipeline.add_point([0, 40, 36], label_id=1)
pipeline.add_point([2, 84, 96], label_id=2)
pipeline.video_propagate()
labels = layers["labels"].data
print("volume", labels.shape, np.unique(labels).tolist(), bool((labels == 1).any(axis=(1, 2)).all()))
pipeline.reset()
print("reset", int(layers["labels"].data.max()))
