"""From the model's low-resolution mask logits to masks of the original images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, cast, dtype_name, empty, is_floating, is_tensor, to_numpy, where
from ..inputs.plain_values import check_plain_tensor, plain_array
from ..inputs.resizing import resize_logits
from ..sizes import Size, read_sizes
from .array_ops import count_up
from .connected_components import fill_holes, remove_sprinkles

# Upscaled logits exist for so many pixels only, before they are cut to bits. That bounds memory, and what fits into
# a cache is some three times faster on a CPU than all masks at once.
_PIXELS_AT_ONCE = 2**22
_SUPPRESSION = 10.0  # logits of an object that loses a pixel to another one go this far below the threshold


class MaskRestorer(NamedTuple):
    """How low-resolution logits become masks of an image.

    Attributes:
        mask_threshold: the logit above which a pixel belongs to the object.
        binarize: give bool masks, else logits in the dtype they came in.
        max_hole_area: holes of at most this many pixels of the finished masks go.
        max_sprinkle_area: the same for islands.
        exclusive: give each pixel to the object whose logit is highest there.
        as_tensors: give tensors; else NumPy arrays.
    """

    mask_threshold: float = 0.0
    binarize: bool = True
    max_hole_area: float = 0.0
    max_sprinkle_area: float = 0.0
    exclusive: bool = False
    as_tensors: bool = True

    def __call__(self, masks: Any, original_sizes: Any) -> list[Array]:
        """Bring masks to the size of their images.

        Boolean masks count as 0 and 1 and are cut at one half, whatever the threshold.

        Args:
            masks: (images, objects, masks, h, w), or a list of (objects, masks, h, w); tensors or arrays, floating or
                bool.
            original_sizes: (height, width) of each image.

        Returns:
            For each image (objects, masks, height, width).

        Raises:
            TypeError, ValueError: masks of another kind or rank, or not as many as sizes.
        """
        stacks = _read_stacks(masks, self.as_tensors)
        settings = self._checked()
        sizes = read_sizes(original_sizes)
        if len(stacks) != len(sizes):
            raise ValueError(
                f"original_sizes must hold a size for each image with masks: expected {len(stacks)}, got {len(sizes)}"
            )
        return [settings._restore(stack, size) for stack, size in zip(stacks, sizes, strict=True)]

    def _checked(self) -> MaskRestorer:
        """The same settings with plain numbers; those that mean nothing are refused."""
        return self._replace(
            mask_threshold=_read_number(self.mask_threshold, "mask_threshold"),
            max_hole_area=_read_number(self.max_hole_area, "max_hole_area", none=0.0),
            max_sprinkle_area=_read_number(self.max_sprinkle_area, "max_sprinkle_area", none=0.0),
        )

    def _restore(self, stack: Array, size: Size) -> Array:
        if dtype_name(stack) == "bool":
            return self._replace(mask_threshold=0.5)._restore(cast(stack, "float32"), size)
        dtype = "bool" if self.binarize else dtype_name(stack)
        if self.exclusive and len(stack) > 1:  # every object must be seen at once
            logits = self._without_overlap(self._clean(resize_logits(stack, size)))
            return logits > self.mask_threshold if self.binarize else cast(logits, dtype)
        flat = stack.reshape(stack.shape[0] * stack.shape[1], *stack.shape[2:])
        restored = empty((len(flat), *size), dtype, stack)
        at_once = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
        for start in range(0, len(flat), at_once):
            chunk = slice(start, start + at_once)
            logits = resize_logits(flat[chunk][None], size)[0]
            restored[chunk] = self._clean(logits > self.mask_threshold if self.binarize else logits)
        return restored.reshape(*stack.shape[:2], *size)

    def _clean(self, masks: Array) -> Array:
        """Fill holes and remove sprinkles, of logits or of bool masks."""
        masks = fill_holes(masks, self.max_hole_area, self.mask_threshold)
        return remove_sprinkles(masks, self.max_sprinkle_area, self.mask_threshold)

    def _without_overlap(self, logits: Array) -> Array:
        winner = logits.argmax(0)[None]
        index = count_up(len(logits), logits).reshape(-1, 1, 1, 1)
        lowered = logits.clip(max=self.mask_threshold - _SUPPRESSION)
        return where(index == winner, logits, lowered)


def _read_number(value: Any, name: str, none: float | None = None) -> float:
    """A number of any library; None counts as `none`."""
    if value is None and none is not None:
        return none
    plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) != 0 else value
    if not isinstance(plain, Real) or isinstance(plain, bool) or math.isnan(plain):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(plain)


def _read_stacks(masks: Any, as_tensors: bool) -> list[Array]:
    """(objects, masks, height, width) of each image, in a new list."""
    if _is_array(masks) and masks.ndim != 5:
        raise ValueError(
            f"masks must be (images, objects, masks, height, width) or a list of (objects, masks, height, width), "
            f"got shape {tuple(masks.shape)}"
        )
    if not isinstance(masks, Iterable):
        raise TypeError(f"masks must be a tensor, an array or a list of them, got {type(masks).__name__}")
    stacks = []
    for index, item in enumerate(masks):
        if not _is_array(item):
            raise TypeError(f"masks[{index}] must be a tensor or an array, got {type(item).__name__}")
        name = f"masks[{index}]"
        stack = _read_stack(item, name, as_tensors)
        if stack.ndim == 4 and 0 in stack.shape[2:]:
            raise ValueError(f"{name} must have pixels, got shape {tuple(stack.shape)}")
        if stack.ndim != 4 or not (is_floating(stack) or dtype_name(stack) == "bool"):
            raise ValueError(
                f"masks[{index}] must be floating or bool of shape (objects, masks, height, width), "
                f"got {stack.dtype} of shape {tuple(stack.shape)}"
            )
        stacks.append(stack)
    return stacks


def _is_array(value: Any) -> bool:
    return is_tensor(value) or isinstance(value, np.ndarray)


def _read_stack(item: Array, name: str, as_tensors: bool) -> Array:
    if is_tensor(item):
        check_plain_tensor(item, name)  # and keep its gradients
        return item if as_tensors else to_numpy(item)
    array = plain_array(item, name)
    if not as_tensors:
        return array
    import torch

    return torch.from_numpy(array)
