"""Collators: clips to the batches that models take.

Besides `Clip`s, the collators take rows of a Hugging Face data set: dictionaries with "image" (or "frames", for a clip)
and "masks".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...network.losses import IGNORED_LABEL
from ...prompt_values import PAD_VALUE
from ...tracking.prompts import PointPrompt
from ..prompting.clicks import draw_box, first_click
from .annotated_video import Clip, split_index_map
from .resizing import resize_clip

if TYPE_CHECKING:
    from ...image_processing_sam2 import Sam2ImageProcessor


Example = Clip | Mapping[str, Any]


@dataclass
class ClipCollator:
    """Clips of one length to a batch for `Sam2VideoForTraining`.

    A batch holds `pixel_values` (B, T, 3, H, W), resized and normalised, and `labels` (B, T, N, H, W) int8: 1 is the
    object, 0 is not, -100 is unknown. A list of clips stands for the clips in it.

    Attributes:
        image_processor: sets size and normalisation.
        num_objects: least N. Clips with fewer objects are padded with objects that are unknown throughout.
    """

    image_processor: Sam2ImageProcessor
    num_objects: int = 1

    def __call__(self, clips: Sequence[Example | list[Example]]) -> dict[str, Tensor]:
        examples = [part for clip in clips for part in (clip if isinstance(clip, list) else [clip])]
        read = [resize_clip(read_clip(clip), _size(self.image_processor)) for clip in examples]
        lengths = {len(clip.frames) for clip in read}
        if len(lengths) != 1:
            raise ValueError(f"the clips of a batch must have equally many frames, got {sorted(lengths)}")
        most = max(self.num_objects, *(len(clip.object_ids) for clip in read))
        pixels = self.image_processor(list(np.concatenate([clip.frames for clip in read])), return_tensors="pt")
        return {
            "pixel_values": pixels["pixel_values"].unflatten(0, (len(read), -1)),
            "labels": torch.stack([_labels(clip, most) for clip in read]),
        }


@dataclass
class ImageCollator:
    """Images to a batch for `Sam2Model`, with a prompt for each object: a click on it, or a box around it.

    A batch holds `pixel_values` (B, 3, H, W), `labels` (B, P, H, W) as those of `ClipCollator`, `input_points`
    (B, P, N, 2) with `input_labels` (B, P, N), and `multimask_output`: several masks for the ambiguous click, one for a
    box. All objects of a batch get the same kind of prompt. Of a clip, the first frame counts.

    Attributes:
        image_processor: sets size and normalisation.
        box: probability of a box.
    """

    image_processor: Sam2ImageProcessor
    box: float = 0.5

    def __call__(self, images: Sequence[Example]) -> dict[str, Any]:
        clips = [read_clip(image) for image in images]
        first = [
            Clip(c.frames[:1], c.masks[:1], c.object_ids, None if c.ignored is None else c.ignored[:1]) for c in clips
        ]
        batch = ClipCollator(self.image_processor)(first)
        labels = batch["labels"][:, 0]
        truth, known = (labels > 0).flatten(0, 1), (labels != IGNORED_LABEL).flatten(0, 1)
        uses_boxes = float(torch.rand(())) < self.box
        clicks = draw_box(truth) if uses_boxes else first_click(truth, known)
        fills_up = ~known.flatten(1).any(dim=1)
        clicks = PointPrompt(
            clicks.points.masked_fill(fills_up[:, None, None], PAD_VALUE),
            clicks.labels.masked_fill(fills_up[:, None], PAD_VALUE),
        )
        return {
            "pixel_values": batch["pixel_values"][:, 0],
            "input_points": clicks.points.unflatten(0, labels.shape[:2]),
            "input_labels": clicks.labels.unflatten(0, labels.shape[:2]),
            "labels": labels,
            "multimask_output": not uses_boxes,
        }


def read_clip(example: Example) -> Clip:
    """Convert a row of a data set to a clip.

    Args:
        example: a clip, which is returned as it is, or a row with "image" or "frames" (a list of images), and "masks":
            for the image, or for each frame, either a map (H, W) of object numbers, where 0 is the background, or a
            list of masks (H, W), one for each object, in the same order in every frame. Images and masks are PIL images
            or arrays.

    Returns:
        The clip.

    Raises:
        ValueError: if keys are missing, or masks and frames differ in number.
    """
    if isinstance(example, Clip):
        return example
    if "masks" not in example or ("image" in example) == ("frames" in example):
        raise ValueError(f'a row must hold "masks" and either "image" or "frames", got {sorted(example)}')
    is_image = "image" in example
    frames = [example["image"]] if is_image else list(example["frames"])
    annotations = [example["masks"]] if is_image else list(example["masks"])
    if len(frames) != len(annotations):
        raise ValueError(f'"masks" must hold an entry for each of {len(frames)} frames, got {len(annotations)}')
    found = [_read_masks(annotation) for annotation in annotations]
    ids = tuple(dict.fromkeys(obj_id for masks in found for obj_id in masks))
    images = np.stack([_rgb(frame) for frame in frames])
    masks = np.zeros((len(frames), len(ids), *images.shape[1:3]), bool)
    for index, by_id in enumerate(found):
        for row, obj_id in enumerate(ids):
            if obj_id in by_id:
                masks[index, row] = by_id[obj_id]
    return Clip(images, masks, ids)


def _read_masks(annotation: Any) -> dict[Any, np.ndarray]:
    if isinstance(annotation, (list, tuple)):
        return {row: np.asarray(mask) > 0 for row, mask in enumerate(annotation)}
    array = np.asarray(annotation)
    return split_index_map(array) if array.ndim == 2 else {row: mask > 0 for row, mask in enumerate(array)}


def _rgb(frame: Any) -> np.ndarray:
    return np.asarray(frame.convert("RGB") if hasattr(frame, "convert") else frame)


def _labels(clip: Clip, count: int) -> Tensor:
    """(T, count, H, W) int8."""
    frames, objects, height, width = clip.masks.shape
    labels = np.full((frames, count, height, width), IGNORED_LABEL, np.int8)
    labels[:, :objects] = clip.masks
    if clip.ignored is not None:
        labels[:, :objects][np.broadcast_to(clip.ignored[:, None], clip.masks.shape)] = IGNORED_LABEL
    return torch.from_numpy(labels)


def _size(image_processor: Sam2ImageProcessor) -> tuple[int, int]:
    size = image_processor.size
    return size["height"], size["width"]
