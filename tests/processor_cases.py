"""What processors are compared on, here and in transformers: images, prompts and masks, drawn from seeds.

`goldens/make_processor_goldens.py` runs transformers' processor on them, once, in an environment that has torchvision;
the tests marked `peers` run both processors side by side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

GOLDENS = Path(__file__).parent / "goldens"
SIZE = {"height": 16, "width": 24}
GREY_LEVEL = 1 / 255 / 0.224  # the largest step that a grey level makes in normalised pixels


class ImageCase(NamedTuple):
    images: Any
    settings: dict[str, Any]


def draw(height: int = 45, width: int = 70, channels: int = 3, seed: int = 0) -> np.ndarray:
    """(height, width, channels) uint8: waves and a little noise, so that every resize has something to smooth."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (3 + c) + c) + np.cos(columns / (5 - c / 2)) for c in range(channels)]
    noisy = 127 + 50 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, channels))
    return noisy.clip(0, 255).astype(np.uint8)


def palette_image(transparent: int | None = None) -> Image.Image:
    image = Image.fromarray(draw()[..., 0] // 16)
    image.putpalette(draw(16, 1, 3, seed=1).tobytes())
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


def image_cases() -> dict[str, ImageCase]:
    """Images that transformers' processor takes, and settings."""
    array = draw()
    rgba = Image.fromarray(draw(channels=4))
    planes = torch.from_numpy(array).permute(2, 0, 1)
    resized: dict[str, Any] = {"size": SIZE}
    inputs = {
        "rgb": Image.fromarray(array),
        "grey": Image.fromarray(array[..., 0]),
        "bits": Image.fromarray(array[..., 0] > 120),
        "cmyk": Image.fromarray(array).convert("CMYK"),
        "rgba": rgba,
        "grey and alpha": rgba.convert("LA"),
        "palette": palette_image(),
        "transparent palette": palette_image(transparent=3),
        "array": array,
        "array of one channel": array[..., :1],
        "tensor": planes,
        "rgba tensor": torch.from_numpy(draw(channels=4)).permute(2, 0, 1),
        "floats to 255": planes.float(),
        "two images": [Image.fromarray(array), draw(30, 20)],
        "nested": [[array], [array[::-1].copy()]],
        "upsampled": draw(5, 9),
    }
    cases = {name: ImageCase(images, resized) for name, images in inputs.items()}
    more = {
        "floats to 1": ImageCase(planes.float() / 255, {**resized, "do_rescale": False}),
        "bicubic": ImageCase(array, {**resized, "resample": 3}),
        "nearest": ImageCase(array, {**resized, "resample": 0}),
        "not resized": ImageCase(draw(9, 11), {"do_resize": False}),
        "not normalised": ImageCase(array, {**resized, "do_normalize": False}),
        "only resized": ImageCase(array, {**resized, "do_normalize": False, "do_rescale": False}),
        "other statistics": ImageCase(array, {**resized, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]}),
        "channels last": ImageCase(draw(3, 4, 3), {**resized, "input_data_format": "channels_last"}),
    }
    return cases | more


def prompt_cases() -> dict[str, dict[str, Any]]:
    """Prompts for two images, (45, 70) and (30, 20), that transformers' processor takes."""
    points = [[[[10, 20.5], [69, 0]], [[3, 4]]], [[[19, 29]]]]
    labels = [[[1, 0], [1]], [[-1]]]
    two_each = [points[0], [[[19, 29]], [[2, 3], [4, 5]]]]
    boxes = [[[1, 2, 60, 40], [0, 0, 70, 45]], [[5, 5.5, 5, 30], [-3, -2, 22, 31]]]
    return {
        "points": {"input_points": points, "input_labels": labels},
        "points alone": {"input_points": points},
        "boxes": {"input_boxes": boxes},
        "all": {"input_points": two_each, "input_labels": [labels[0], [[-1], [0, 1]]], "input_boxes": boxes},
        "arrays": {"input_points": np.full((2, 3, 1, 2), 7.25), "input_labels": np.ones((2, 3, 1), dtype=int)},
        "tensors": {"input_points": torch.full((2, 2, 2, 2), 5.0), "input_boxes": torch.tensor(boxes)},
    }


def prompt_images() -> list[np.ndarray]:
    return [draw(45, 70), draw(30, 20)]


def mask_cases() -> dict[str, dict[str, Any]]:
    """Logits of two images, to sizes (21, 34) and (40, 12)."""
    generator = torch.Generator().manual_seed(0)
    masks = [3 * torch.randn(objects, 2, 8, 8, generator=generator) for objects in (3, 1)]
    sizes = [(21, 34), (40, 12)]
    common: dict[str, Any] = {"masks": masks, "original_sizes": sizes}
    return {
        "binary": common,
        "logits": {**common, "binarize": False},
        "threshold": {**common, "mask_threshold": 1.5},
        "tensor of sizes": {**common, "original_sizes": torch.tensor(sizes)},
        "no overlap": {**common, "apply_non_overlapping_constraints": True},
        "no overlap, logits": {**common, "apply_non_overlapping_constraints": True, "binarize": False},
    }


def label_map() -> np.ndarray:
    return draw()[..., 0] // 10


IMAGE_FIELDS = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 1024, "width": 1024},
}
# The files of a (video) checkpoint as first published: one for each part, with fields that say nothing.
OLDER_LAYOUT: dict[str, dict[str, Any]] = {
    "preprocessor_config.json": {
        **IMAGE_FIELDS,
        "crop_size": None,
        "data_format": "channels_first",
        "default_to_square": True,
        "device": None,
        "disable_grouping": None,
        "do_center_crop": None,
        "image_processor_type": "Sam2ImageProcessorFast",
        "input_data_format": None,
        "mask_size": {"height": 256, "width": 256},
        "processor_class": "Sam2VideoProcessor",
        "return_tensors": None,
    },
    "video_preprocessor_config.json": {
        **IMAGE_FIELDS,
        "do_sample_frames": None,
        "fps": None,
        "num_frames": None,
        "processor_class": "Sam2VideoProcessor",
        "return_metadata": False,
        "video_processor_type": "Sam2VideoVideoProcessor",
    },
    "processor_config.json": {
        "point_pad_value": -10,
        "processor_class": "Sam2VideoProcessor",
        "target_size": 1024,
    },
}
