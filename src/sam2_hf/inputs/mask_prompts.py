"""Masks that a person hands over as prompts, of any size and kind, for images and for the frames of a video alike.

What a value means is decided here, once:

- bool and integers: the object is where they are not 0, so 0/1, 0/255 and palette indices all work.
- floating point from 0 to 1: how much of a pixel is covered. What is covered by half belongs to the object.
- floating point up to 255: the same on the scale of grey levels.
- floating point with values below 0: logits, such as an earlier prediction. What is above 0 belongs to the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..arrays import Array, cast, dtype_name, is_floating, is_tensor, limits, stack, to_numpy
from ..sizes import Size
from .plain_values import plain_array, plain_tensor
from .prompt_tensors import mask_logits
from .resizing import resize, resize_map

# A mask prompt has a quarter of the size of the model's input.
PROMPT_STRIDE = 4


class GivenMask(NamedTuple):
    """One mask as it was given.

    Attributes:
        values: (height, width) float32, coverage from 0 to 1, or logits.
        is_logits: which of the two.
    """

    values: Array
    is_logits: bool

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self.values.shape[0], self.values.shape[1]

    def resize(self, size: Size) -> Array:
        """Bring the mask to (height, width), antialiased: bool."""
        values = self.values
        if self.size != tuple(size):
            values = resize_map(values, (size[0], size[1]))
        return values > 0 if self.is_logits else values >= 0.5


def read_masks(masks: Any, name: str = "input_masks", as_tensors: bool = True) -> list[GivenMask]:
    """Read the masks of the objects of one image.

    Args:
        masks: one mask, a list of them, or an array of (objects, height, width). A mask is (height, width), with an
            axis of one channel before or behind, as an array, a tensor or an image.
        name: what an error calls it.
        as_tensors: give tensors; else NumPy arrays.

    Raises:
        TypeError: what is no array of real numbers.
        ValueError: another shape, no pixels, NaN, infinity, floating values above 255, or colours.
    """
    if not isinstance(masks, (list, tuple)):
        return _read_stack(masks, name, as_tensors)
    if not masks:
        raise ValueError(f"{name} is empty: expected a mask (height, width) for each object")
    return [mask for index, item in enumerate(masks) for mask in _read_stack(item, f"{name}[{index}]", as_tensors)]


def read_batch_of_masks(
    masks: Any, images: int, name: str = "input_masks", as_tensors: bool = True
) -> list[list[GivenMask]]:
    """Read the masks of the objects of several images.

    Args:
        masks: nested images, objects, (height, width); of one image also what `read_masks` takes.
        images: how many images there are.
        name: what an error calls it.
        as_tensors: give tensors; else NumPy arrays.

    Returns:
        For each image a mask of each object; equally many for all images.

    Raises:
        TypeError: what is no array of real numbers.
        ValueError: what `read_masks` refuses; other numbers of images or objects.
    """
    is_array = hasattr(masks, "ndim")
    if images == 1 and not _is_nested(masks) and not (is_array and masks.ndim > 3):
        masks = [masks]
    if not isinstance(masks, (list, tuple)) and not is_array:
        raise TypeError(f"{name} must hold masks nested images, objects, (height, width), got {type(masks).__name__}")
    if len(masks) != images:
        raise ValueError(f"{name} must hold masks for as many images as there are: expected {images}, got {len(masks)}")
    read = [read_masks(item, f"{name}[{index}]", as_tensors) for index, item in enumerate(masks)]
    counts = [len(found) for found in read]
    if len(set(counts)) > 1:
        raise ValueError(f"{name} must hold equally many masks for every image, got {counts}")
    return read


def mask_prompts(masks: Sequence[Sequence[GivenMask]], model_sizes: Sequence[Size]) -> Array:
    """Turn a person's masks into logits for the model, as strong as a mask prompt in a video.

    Args:
        masks: for each image a mask of each object, equally many.
        model_sizes: (height, width) of each image as the model sees it; one size for all.

    Returns:
        (images, objects, height / 4, width / 4), float32, 10 inside of the masks and -10 outside.
    """
    rows = []
    for found, size in zip(masks, model_sizes, strict=True):
        logits = mask_logits(stack([mask.resize(size) for mask in found]))
        low_size = (size[0] // PROMPT_STRIDE, size[1] // PROMPT_STRIDE)
        rows.append(resize(logits, low_size))
    return stack(rows)


def _is_nested(masks: Any) -> bool:
    """Whether masks are in a list for each image: a list of lists, or of arrays that hold several."""
    if not isinstance(masks, (list, tuple)) or not masks:
        return False
    return all(isinstance(item, (list, tuple)) or getattr(item, "ndim", 2) > 2 for item in masks)


def _read_stack(masks: Any, name: str, as_tensors: bool) -> list[GivenMask]:
    """The masks of one array, tensor or image."""
    tensor = _to_array(masks, name, as_tensors)
    shape = tuple(tensor.shape)
    if tensor.ndim > 2 and shape[-1] == 1 and shape[-2] > 1 and shape[-3] > 1:
        tensor = tensor[..., 0]  # channels last
    if tensor.ndim not in (2, 3, 4) or 0 in shape or (tensor.ndim == 4 and 1 not in shape[:2]):
        raise ValueError(f"{name} must be (height, width), or (objects, height, width), with pixels, got shape {shape}")
    return [_read_values(mask, name) for mask in tensor.reshape(-1, *tensor.shape[-2:])]


def _to_array(mask: Any, name: str, as_tensors: bool) -> Array:
    """bool, or float32; unsigned integers, of which torch knows but a part, are compared with 0 in NumPy."""
    if is_tensor(mask):
        tensor = plain_tensor(mask, name)
        values = cast(tensor, "float32") if is_floating(tensor) else tensor != 0
        return values if as_tensors else to_numpy(values)
    if isinstance(mask, Image.Image):
        mask = _grey(mask, name)
    elif not hasattr(mask, "__array__") and not isinstance(mask, (list, tuple)):
        raise TypeError(f"{name} must be an array, a tensor or an image, got {type(mask).__name__}")
    array = plain_array(mask, name)
    array = array.astype(np.float32) if array.dtype.kind == "f" else array != 0
    if not as_tensors:
        return array
    import torch

    return torch.from_numpy(array)


def _grey(mask: Image.Image, name: str) -> Image.Image:
    if mask.mode in ("RGB", "RGBA"):
        channels = [channel.tobytes() for channel in mask.split()[:3]]
        if channels[0] != channels[1] or channels[0] != channels[2]:
            raise ValueError(
                f"{name} must be black and white, got an image with colours: which of them are the object?"
            )
        return mask.getchannel(0)
    if mask.mode not in ("1", "L", "P", "I", "I;16", "F"):
        raise ValueError(f"{name} must be an image of mode 1, L, P, I or F, got mode {mask.mode}")
    return mask


def _read_values(mask: Array, name: str) -> GivenMask:
    """The rules of this module's head, for (height, width)."""
    if dtype_name(mask) == "bool":
        return GivenMask(cast(mask, "float32"), is_logits=False)
    low, high = limits(mask)
    if not (-float("inf") < low and high < float("inf")):  # NaN fails both
        raise ValueError(f"{name} must be finite, got NaN or infinite values")
    if low < 0:
        return GivenMask(mask, is_logits=True)
    if high > 255:
        raise ValueError(f"{name} must hold numbers from 0 to 1 or from 0 to 255, or logits, got up to {high:g}")
    return GivenMask(mask / 255 if high > 1 else mask, is_logits=False)
