"""`SAM2Transforms`: images, prompts and masks between an image's pixels and the model's input."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ...image_processing_sam2 import Sam2ImageProcessor
from ...masks.connected_components import clean_logits
from ...masks.postprocessing import MaskRestorer
from ...sizes import read_size

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ExactImageProcessor(Sam2ImageProcessor):
    """`Sam2ImageProcessor` that resizes grey levels in floating point, as Meta's code does, and not as bytes."""

    def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        given = images if isinstance(images, list) else [images]
        exact = [image.float() / 255 if _is_bytes(image) else image for image in map(_as_tensor, given)]
        return super().preprocess(exact, *args, **kwargs)


def _as_tensor(image: Any) -> Any:
    """A PIL image or an array (height, width, channels) with its channels first; anything else as it is."""
    if isinstance(image, Image.Image):
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    if isinstance(image, np.ndarray) and image.ndim == 3:
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return image


def _is_bytes(image: Any) -> bool:
    return isinstance(image, Tensor) and image.dtype == torch.uint8


class SAM2Transforms(nn.Module):
    """Images to the model's pixels, coordinates to its frame, and masks to the size of an image.

    Args:
        resolution: side of the model's square input in pixels, or (height, width).
        mask_threshold: the logit above which a pixel belongs to the mask.
        max_hole_area: holes of up to so many pixels of the low-resolution mask are filled.
        max_sprinkle_area: specks of up to so many pixels of it are removed.
        disable_torch_jit: not read; nothing here is scripted.
    """

    def __init__(
        self,
        resolution: Any,
        mask_threshold: float,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        disable_torch_jit: bool = False,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self.mean, self.std = list(MEAN), list(STD)
        height, width = read_size(resolution, "resolution")
        self.image_processor = ExactImageProcessor(
            size={"height": height, "width": width}, image_mean=list(MEAN), image_std=list(STD)
        )

    def forward(self, x: Any) -> Tensor:
        """An image, (height, width, 3) uint8 or PIL, as the model's pixels (3, H, W)."""
        return self.forward_batch([x])[0]

    def forward_batch(self, img_list: list[Any]) -> Tensor:
        """Images of any sizes as the model's pixels (images, 3, H, W)."""
        return self.image_processor(img_list, return_tensors="pt")["pixel_values"]

    def transform_coords(
        self, coords: Tensor, normalize: bool = False, orig_hw: tuple[int, int] | None = None
    ) -> Tensor:
        """Brings points to the model's frame.

        Args:
            coords: (..., 2) as (x, y): pixels of the image with `normalize`, else fractions of it.
            normalize: whether `coords` are in pixels.
            orig_hw: (height, width) of the image; needed with `normalize`.

        Returns:
            (..., 2) in pixels of the model's input.

        Raises:
            ValueError: if `orig_hw` is missing.
        """
        if normalize and orig_hw is None:
            raise ValueError("orig_hw (height, width) must be given where coords are in pixels, got None")
        height, width = read_size(self.resolution, "resolution")
        size = coords.new_tensor([width, height])
        if normalize and orig_hw is not None:
            coords = coords / coords.new_tensor([orig_hw[1], orig_hw[0]])
        return coords * size

    def transform_boxes(self, boxes: Tensor, normalize: bool = False, orig_hw: tuple[int, int] | None = None) -> Tensor:
        """Brings boxes (..., 4) to the model's frame, as corners (boxes, 2, 2); see `transform_coords`."""
        return self.transform_coords(boxes.reshape(-1, 2, 2), normalize, orig_hw)

    def clean_masks(self, masks: Tensor) -> Tensor:
        """Low-resolution logits (..., h, w) without small holes and specks, in float32.

        Both are those of the masks as given: filling a hole does not save a speck in it.
        """
        return clean_logits(masks.float(), self.max_hole_area, self.max_sprinkle_area, self.mask_threshold)

    def postprocess_masks(self, masks: Tensor, orig_hw: tuple[int, int]) -> Tensor:
        """Brings low-resolution logits (B, C, h, w) to the size of an image.

        Args:
            masks: the logits.
            orig_hw: (height, width) of the image.

        Returns:
            Logits (B, C, height, width), float32, with gradients.
        """
        return F.interpolate(self.clean_masks(masks), tuple(orig_hw), mode="bilinear", align_corners=False)

    def binarize_masks(self, masks: Tensor, orig_hw: tuple[int, int]) -> Tensor:
        """What `postprocess_masks` gives, cut at the threshold: (B, C, height, width) bool, in less memory."""
        return MaskRestorer(self.mask_threshold)([self.clean_masks(masks)], [tuple(orig_hw)])[0]
