"""Points, labels and boxes as a person writes them, made into padded tensors, with every check on them.

A person writes nested lists, arrays, tensors or mixtures of them, ragged at every level, in pixels of the original
image. The model wants rectangular tensors in pixels of its own input. Both meet here and nowhere else, for
images and for the frames of a video alike, in pure functions on plain values:

    prompts = read_prompts(input_points, input_labels, input_boxes)     # nested to padded; nesting and values checked
    prompts = scale_prompts(prompts, original_sizes, model_sizes)       # checked against the images and scaled

What is missing is padded with `PAD_VALUE`, in coordinates and labels; the model masks it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, again, to_numpy
from ..prompt_values import (
    BOX_CORNER_LABELS,
    LABEL_MEANINGS,
    PAD_VALUE,
    spell_labels,
)
from ..sizes import Size
from .nesting import Layout, Padded, pad_nested, spell, widen

_POINTS = Layout("input_points", ("images", "objects", "points", "(x, y)"), 2, "[[[[500, 375]]]]")
_LABELS = Layout("input_labels", ("images", "objects", "labels"), None, "[[[1]]]")
_BOXES = Layout("input_boxes", ("images", "objects", "(x0, y0, x1, y1)"), 4, "[[[75, 275, 1725, 850]]]", one_entry=True)


class Prompts(NamedTuple):
    """Prompts of a batch of images, padded with `PAD_VALUE`; what was not given is None.

    points: (images, objects, points, 2), float32, (x, y) in pixels.
    labels: (images, objects, points), int64, of `LABEL_MEANINGS`. There whenever points are.
    boxes: (images, objects, 4), float32, left, top, right, bottom in pixels; four times `PAD_VALUE` for no box.
    """

    points: Array | None = None
    labels: Array | None = None
    boxes: Array | None = None

    def named(self) -> dict[str, Array]:
        """The tensors or arrays that are there, under the names of the model's arguments."""
        tensors = {_POINTS.name: self.points, _LABELS.name: self.labels, _BOXES.name: self.boxes}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def as_tensors(self) -> Prompts:
        """The same as tensors, for which NumPy's memory is shared."""
        import torch

        return Prompts(*(None if given is None else torch.from_numpy(given) for given in self))


def read_prompts(
    input_points: Any = None, input_labels: Any = None, input_boxes: Any = None, as_tensors: bool = True
) -> Prompts:
    """Pad nested prompts to tensors, or to arrays.

    An object without points, or without a box, is written as None or an empty list; so is an image without objects.
    Points without any labels count as label 1, a point at (-10, -10) as padding.

    Args:
        input_points: nested images, objects, points, (x, y).
        input_labels: nested images, objects, labels; one label for every point.
        input_boxes: nested images, objects, (x0, y0, x1, y1); at most one box for every object.
        as_tensors: give tensors; else NumPy arrays.

    Raises:
        TypeError: something that is no number, list, array or tensor.
        ValueError: wrong nesting, arguments that do not go together, values that mean nothing, no prompt at all. The
            message names the position.
    """
    if input_points is None and input_labels is not None:
        raise ValueError("input_labels belong to points: give input_points with them, or leave both out")
    points = labels = boxes = None
    if input_points is not None:
        points = pad_nested(input_points, _POINTS, PAD_VALUE)
        labels = _read_labels(input_labels, points)
    if input_boxes is not None:
        boxes = pad_nested(input_boxes, _BOXES, PAD_VALUE)
    if points is not None and labels is not None and boxes is not None:
        _check_same_objects(points, boxes)
        objects = max(points.values.shape[1], boxes.values.shape[1])
        points, labels, boxes = (widen(argument, objects, PAD_VALUE) for argument in (points, labels, boxes))
    prompts = _to_prompts(points, labels, boxes)
    _check_corners(prompts)
    named = prompts.named()
    if named and all((tensor == PAD_VALUE).all() for tensor in named.values()):
        raise ValueError(f"{' and '.join(named)} hold no prompt: expected a point or a box for some object")
    return prompts.as_tensors() if as_tensors else prompts


def scale_prompts(prompts: Prompts, original_sizes: Sequence[Size], model_sizes: Sequence[Size]) -> Prompts:
    """Check prompts against their images and express them in pixels of the model's input.

    x and y are scaled independently, as the images are. A coordinate may lie outside its image by as much as
    the image is long in that direction; further out it is taken for a mistake (another image's coordinates,
    say). Padding stays as it is.

    Args:
        prompts: in pixels of the original images.
        original_sizes: (height, width) of each image.
        model_sizes: (height, width) of each image as the model sees it.

    Raises:
        ValueError: not as many images as prompts, a coordinate far outside, a box upside down.
    """
    for name, tensor in prompts.named().items():
        if len(tensor) != len(original_sizes):
            raise ValueError(
                f"{name} must hold prompts for as many images as there are: "
                f"expected {len(original_sizes)}, got {len(tensor)}"
            )
    size_xy = np.asarray(original_sizes, np.float32).reshape(-1, 1, 1, 2)[..., ::-1]
    scale = np.asarray(model_sizes, np.float32).reshape(-1, 1, 1, 2)[..., ::-1] / size_xy
    points, labels, boxes = (None if given is None else to_numpy(given) for given in prompts)
    if points is not None and labels is not None:
        padding = labels == PAD_VALUE
        _check_near(points, padding, size_xy, _POINTS)
        points = again(np.where(padding[..., None], points, points * scale), prompts.points)
    if boxes is not None:
        corners = boxes.reshape(*boxes.shape[:-1], 2, 2)
        padding = (boxes == PAD_VALUE).all(-1, keepdims=True)
        _check_corner_order(corners, padding)
        _check_near(corners, padding, size_xy, _BOXES)
        boxes = again(np.where(padding, boxes, (corners * scale).reshape(boxes.shape)), prompts.boxes)
    return Prompts(points, prompts.labels, boxes)


def _read_labels(input_labels: Any, points: Padded) -> Padded:
    """Labels that go with the points and mean something."""
    if input_labels is None:
        is_padding = (points.values == PAD_VALUE).all(-1, keepdims=True)
        return points._replace(values=np.where(is_padding, PAD_VALUE, 1.0))
    labels = pad_nested(input_labels, _LABELS, PAD_VALUE)
    if len(labels.objects) != len(points.objects):
        raise ValueError(
            f"input_labels must hold labels for as many images as input_points: "
            f"expected {len(points.objects)}, got {len(labels.objects)}"
        )
    for (image,) in np.argwhere(labels.objects != points.objects):
        raise ValueError(
            f"input_labels[{image}] must hold labels for as many objects as input_points[{image}]: "
            f"expected {points.objects[image]}, got {labels.objects[image]}"
        )
    for image, index in np.argwhere(labels.entries != points.entries):
        raise ValueError(
            f"input_labels[{image}][{index}] must hold one label for every point: "
            f"expected {points.entries[image, index]}, got {labels.entries[image, index]}"
        )
    for position in np.argwhere(~np.isin(labels.values, list(LABEL_MEANINGS))):
        got = labels.values[tuple(position)]
        raise ValueError(f"{_LABELS.spell(*position)} must be one of {spell_labels()}; got {got:g}")
    return labels


def _check_same_objects(points: Padded, boxes: Padded) -> None:
    """Where an image has both points and boxes, it must be plain which of them belong together."""
    if len(points.objects) != len(boxes.objects):
        raise ValueError(
            f"input_boxes must hold boxes for as many images as input_points: "
            f"expected {len(points.objects)}, got {len(boxes.objects)}"
        )
    differ = (points.objects != boxes.objects) & (points.objects > 0) & (boxes.objects > 0)
    for (image,) in np.argwhere(differ):
        raise ValueError(
            f"input_boxes[{image}] must hold as many objects as input_points[{image}], None for one without a box: "
            f"expected {points.objects[image]}, got {boxes.objects[image]}"
        )


def _to_prompts(points: Padded | None, labels: Padded | None, boxes: Padded | None) -> Prompts:
    coordinates = marks = corners = None
    with np.errstate(over="ignore"):  # what becomes infinite here is refused as lying far outside of its image
        if points is not None and labels is not None:
            marks = labels.values[..., 0].astype(np.int64)
            given = points.values.astype(np.float32)
            coordinates = np.where(marks[..., None] == PAD_VALUE, np.float32(PAD_VALUE), given)
        if boxes is not None:
            corners = boxes.values[:, :, 0].astype(np.float32)
    return Prompts(coordinates, marks, corners)


def _check_corners(prompts: Prompts) -> None:
    """Refuse corners that are no pair, and a box beside another box of the same object."""
    if prompts.labels is None or prompts.points is None:
        return
    upper_left, lower_right = ((prompts.labels == label) for label in BOX_CORNER_LABELS)
    counts = np.stack((upper_left.sum(-1), lower_right.sum(-1)), axis=-1)
    if not counts.any():
        return
    for image, index in np.argwhere(counts.max(-1) > 0).tolist():
        where = spell(_LABELS.name, [image, index])
        first, second = counts[image, index].tolist()
        if (first, second) != (1, 1):
            raise ValueError(
                f"{where} must have the corners of a box as one pair of the labels 2 and 3, got {first} and {second}"
            )
        if prompts.boxes is not None and bool((prompts.boxes[image, index] != PAD_VALUE).any()):
            raise ValueError(f"{where} must not have a box by the labels 2 and 3 beside that of input_boxes")
        points = prompts.points[image, index]
        corners = np.concatenate((points[upper_left[image, index]], points[lower_right[image, index]]))
        if bool((corners[0] > corners[1]).any()):
            got = ", ".join(f"{value:g}" for value in corners.flatten().tolist())
            raise ValueError(
                f"{where} has a box upside down: expected label 2 at its upper left and 3 at its lower right corner, "
                f"got ({got})"
            )


def _check_near(coordinates: np.ndarray, padding: np.ndarray, size_xy: np.ndarray, layout: Layout) -> None:
    """Refuse (images, objects, entries, 2) far outside. `padding`: (images, objects, entries or 1)."""
    far = ((coordinates < -size_xy) | (coordinates > 2 * size_xy)).any(-1) & ~padding
    for image, index, entry in np.argwhere(far).tolist():
        width, height = size_xy[image, 0, 0].tolist()
        x, y = coordinates[image, index, entry].tolist()
        position = spell(layout.name, [image, index] if layout.one_entry else [image, index, entry])
        raise ValueError(
            f"{position} lies far outside its image: expected (x, y) in pixels of an image "
            f"{width:g} wide and {height:g} high, got ({x:g}, {y:g})"
        )


def _check_corner_order(corners: np.ndarray, padding: np.ndarray) -> None:
    reversed_ = (corners[..., 0, :] > corners[..., 1, :]) & ~padding
    for image, index, _ in np.argwhere(reversed_).tolist():
        got = ", ".join(f"{value:g}" for value in corners[image, index].flatten().tolist())
        raise ValueError(
            f"{spell(_BOXES.name, [image, index])} is upside down: "
            f"expected (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1, got ({got})"
        )
