"""Prompts as Meta's calls take them, as a session stores them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tracking.prompts import MaskPrompt, PointPrompt

Size = tuple[int, int]


def read_points(
    points: Any, labels: Any, box: Any, clear_old_points: bool, image_size: Size | None, model_size: Size
) -> PointPrompt:
    """A box and points behind it, in pixels of the model's input.

    Args:
        points: (points, 2) as (x, y), or None.
        labels: (points), or None.
        box: left, top, right, bottom, or None.
        clear_old_points: whether the prompt replaces an earlier one, which it must if there is a box.
        image_size: (height, width) of what the coordinates are pixels of; None for fractions.
        model_size: (height, width) of the model's input.

    Raises:
        ValueError: for prompts that do not fit together.
    """
    if (points is None) != (labels is None):
        raise ValueError("points and labels must be provided together")
    if points is None and box is None:
        raise ValueError("at least one of points or box must be provided as input")
    if box is not None and not clear_old_points:
        raise ValueError("a box goes before all points: give it with clear_old_points=True")
    coordinates = [] if box is None else [_as_floats(box).reshape(2, 2)]
    kinds = [] if box is None else [_as_floats([2, 3]).long()]
    if points is not None:
        coordinates.append(_as_floats(points).reshape(-1, 2))
        kinds.append(_as_floats(labels).reshape(-1).long())
    positions, marks = torch.cat(coordinates), torch.cat(kinds)
    if len(positions) != len(marks):
        raise ValueError(f"labels must hold one label for each of the {len(positions)} points, got {len(marks)}")
    if image_size is not None:
        positions = positions / _as_floats(image_size[::-1])
    return PointPrompt((positions * _as_floats(model_size[::-1])).float(), marks)


def read_mask(mask: Any, model_size: Size) -> MaskPrompt:
    """A mask (height, width) of any size, at the model's.

    Raises:
        ValueError: for a mask of another shape.
    """
    given = mask if isinstance(mask, Tensor) else torch.as_tensor(mask).bool()
    if given.ndim != 2:
        raise ValueError(f"mask must be (height, width), got shape {tuple(given.shape)}")
    values = given[None, None].float()
    if tuple(given.shape) != model_size:
        values = F.interpolate(values, size=model_size, mode="bilinear", antialias=True)
    return MaskPrompt(values[0, 0] >= 0.5)


def _as_floats(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device="cpu")  # whatever the program's default is
