"""Make `processor.safetensors` and `processor_layouts.json`: what transformers' processors give and save.

Needs torchvision, which transformers' processors are built on. From the root of the repository:

    PYTHONPATH=src:tests python tests/goldens/make_processor_goldens.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from processor_cases import (
    GOLDENS,
    SIZE,
    draw,
    image_cases,
    label_map,
    mask_cases,
    prompt_cases,
    prompt_images,
)
from safetensors.torch import save_file
from transformers import Sam2ImageProcessor, Sam2Processor, Sam2VideoProcessor, Sam2VideoVideoProcessor


def golden_tensors() -> dict[str, torch.Tensor]:
    image_processor = Sam2ImageProcessor()
    tensors = {}
    for name, case in image_cases().items():
        tensors[f"image/{name}"] = image_processor(case.images, return_tensors="pt", **case.settings).pixel_values
    tensors["labels"] = image_processor(
        draw(), segmentation_maps=label_map(), mask_size=SIZE, return_tensors="pt"
    ).labels
    processor = Sam2Processor(image_processor)
    for name, prompts in prompt_cases().items():
        inputs = processor(images=prompt_images(), **prompts, return_tensors="pt")
        for key in ("input_points", "input_labels", "input_boxes"):
            if key in inputs:
                tensors[f"prompt/{name}/{key}"] = inputs[key]
    for name, arguments in mask_cases().items():
        for index, masks in enumerate(image_processor.post_process_masks(**arguments)):
            tensors[f"mask/{name}/{index}"] = masks
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def saved_files(processor: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        processor.save_pretrained(folder)
        return {path.name: json.loads(path.read_text()) for path in Path(folder).iterdir()}


if __name__ == "__main__":
    save_file(golden_tensors(), GOLDENS / "processor.safetensors")
    layouts = {
        "image": saved_files(Sam2Processor(Sam2ImageProcessor())),
        "video": saved_files(Sam2VideoProcessor(Sam2ImageProcessor(), Sam2VideoVideoProcessor())),
    }
    text = json.dumps(layouts, indent=2, sort_keys=True)
    (GOLDENS / "processor_layouts.json").write_text(text + "\n")
