"""Prompts that are tensors already, as people hand them to the models: checked, and moved to where the model is."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..arrays import Array, cast, is_floating
from ..prompt_values import GIVEN_MASK_BIAS, GIVEN_MASK_SCALE, LABEL_MEANINGS, spell_labels
from .plain_values import check_model_tensor, is_finite

_LAYOUTS = {
    "input_points": ("(batch, prompts, points, 2)", 2),
    "input_labels": ("(batch, prompts, points)", None),
    "input_boxes": ("(batch, prompts, 4)", 4),
    "input_masks": ("(batch, prompts, height, width)", None),
}


class PromptTensors(NamedTuple):
    """Prompts of B images, P of each; what was not given is None.

    Attributes:
        points: (B, P, N, 2), (x, y) in pixels of the model's input.
        labels: (B, P, N), see `prompt_values`.
        boxes: (B, P, 4), (left, top, right, bottom).
        masks: (B, P, h, w) or (B, 1, h, w), logits.
    """

    points: Array | None = None
    labels: Array | None = None
    boxes: Array | None = None
    masks: Array | None = None


def read_prompt_tensors(
    points: Array | None,
    labels: Array | None,
    boxes: Array | None,
    masks: Array | None,
    batch: int | None = None,
    device: Any = None,
    look_at_values: bool = True,
) -> PromptTensors:
    """Check the prompts of a model's call and prepare them for its prompt encoder.

    Args:
        points: (B, P, N, 2).
        labels: (B, P, N).
        boxes: (B, P, 4).
        masks: (B, P, h, w) or (B, 1, h, w): logits; or a person's masks, bool or integer, which become logits of 10
            where they are not 0 and of -10 elsewhere, as strong as a mask prompt in a video.
        batch: the number of images, if it is known.
        device: where the prompts are needed; by default they stay where they are.
        look_at_values: whether values on the CPU are checked too. Values elsewhere are not, since that would wait.

    Returns:
        The same prompts there, their masks as logits.

    Raises:
        ValueError: a wrong shape, prompts that do not belong together, NaN, infinity, or a label that is none; names
            the argument.
        TypeError: no tensor, or one that does not hold real numbers.
    """
    if look_at_values:
        for name, tensor in zip(_LAYOUTS, (points, labels, boxes, masks), strict=True):
            if tensor is not None:
                check_model_tensor(tensor, name)
    check_prompt_tensors(points, labels, boxes, masks, batch)
    if look_at_values:
        _check_values(points, labels, boxes, masks)
    if masks is not None and not is_floating(masks):
        masks = mask_logits(masks != 0)
    given = (points, labels, boxes, masks)
    if device is None or device.type == "meta":  # weights that are elsewhere until they are used
        return PromptTensors(*given)
    return PromptTensors(*[None if tensor is None else tensor.to(device) for tensor in given])


def mask_logits(masks: Array) -> Array:
    """Logits of masks that a person drew: float32, 10 inside, -10 outside, in between where partly covered.

    Args:
        masks: any shape; bool, or how much of each pixel is covered, from 0 to 1.

    Returns:
        The same shape.
    """
    return cast(masks, "float32") * GIVEN_MASK_SCALE + GIVEN_MASK_BIAS


def check_prompt_tensors(
    points: Array | None,
    labels: Array | None,
    boxes: Array | None,
    masks: Array | None,
    batch: int | None = None,
) -> None:
    """Refuse prompts of a wrong shape, and prompts that do not belong together.

    Args:
        points: (B, P, N, 2).
        labels: (B, P, N).
        boxes: (B, P, 4).
        masks: (B, P, h, w) or (B, 1, h, w).
        batch: the number of images, if it is known.

    Raises:
        ValueError: names the argument, what was expected and what came.
    """
    given = dict(zip(_LAYOUTS, (points, labels, boxes, masks), strict=True))
    for name, tensor in given.items():
        if tensor is None:
            continue
        layout, last = _LAYOUTS[name]
        shape = tuple(tensor.shape)
        if len(shape) != layout.count(",") + 1 or (last is not None and shape[-1] != last):
            raise ValueError(f"{name} must have the shape {layout}, got {shape}")
        batch = shape[0] if batch is None else batch
        if shape[0] != batch:
            raise ValueError(f"{name} must hold prompts for each of the {batch} images, got {shape[0]}")
    if labels is not None and (points is None or labels.shape != points.shape[:-1]):
        expected = "input_points to go with" if points is None else f"the shape {tuple(points.shape[:-1])}"
        raise ValueError(f"input_labels must have {expected}, got the shape {tuple(labels.shape)}")
    _check_prompt_counts({"input_points": points, "input_boxes": boxes, "input_masks": masks})


def _check_values(points: Array | None, labels: Array | None, boxes: Array | None, masks: Array | None) -> None:
    """Refuse numbers on the CPU that would make every mask NaN, and labels that the prompt encoder does not know."""
    for name, tensor in {"input_points": points, "input_boxes": boxes, "input_masks": masks}.items():
        if tensor is not None and not is_finite(tensor):
            raise ValueError(f"{name} must hold finite numbers, got NaN or infinite values")
    if labels is not None and labels.device.type == "cpu":
        unknown = set(labels.detach().flatten().tolist()) - LABEL_MEANINGS.keys()
        if unknown:
            raise ValueError(f"input_labels must be one of {spell_labels()}; got {min(unknown)}")


def _check_prompt_counts(prompts: dict[str, Array | None]) -> None:
    counts = {name: tensor.shape[1] for name, tensor in prompts.items() if tensor is not None}
    if "input_masks" in counts and counts["input_masks"] == 1:
        counts.pop("input_masks")  # one mask serves all prompts of its image
    # No sets and no hashing: a tracer's sizes are symbols.
    numbers = list(counts.values())
    if 0 in numbers:
        raise ValueError(f"every image needs at least one prompt, got {counts}")
    if numbers and numbers.count(numbers[0]) < len(numbers):
        raise ValueError(f"every image needs the same number of prompts of each kind, got {counts}")
