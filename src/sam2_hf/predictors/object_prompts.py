"""Prompts in the simplest form that is clear: flat for one object, a list for several, a dictionary by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..inputs.mask_prompts import read_masks
from ..results.records import ShownPrompt
from ..sizes import Size

Point = tuple[float, float]


@dataclass(frozen=True)
class ObjectPrompt:
    """What says which object is meant, in pixels of the image.

    Attributes:
        name: the caller's name, or a number from 1.
        points: (x, y) of each.
        labels: 1 on the object and 0 on the background, one a point.
        box: (x0, y0, x1, y1), or None.
        mask: (height, width), bool, of any size, or None.
    """

    name: Hashable
    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None

    @property
    def is_ambiguous(self) -> bool:
        """Whether the prompt is a single point, which may mean an object, a part of it or the whole that it is in."""
        return len(self.points) == 1 and self.box is None and self.mask is None

    def shown(self) -> ShownPrompt:
        """Give the points and the box, to be drawn."""
        return ShownPrompt(self.points, self.labels, self.box)


def read_object_prompts(
    points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None
) -> list[ObjectPrompt]:
    """Read the prompts of one image.

    Each argument is flat for one object, a list for several, or a dictionary by name. Points without labels are on
    the object.

    Args:
        points: (x, y) or [(x, y), ...] for one object, [[(x, y), ...], ...] for several, {name: [(x, y), ...]}.
        labels: as `points`, with 1 or 0 instead of (x, y).
        boxes: (x0, y0, x1, y1) for one object, a list of them for several, {name: (x0, y0, x1, y1)}.
        masks: (height, width) for one object, of any size and kind that `inputs.mask_prompts` reads; a list or an array
            (objects, height, width) for several; {name: mask}.

    Returns:
        One prompt for each object, in the order in which they were first given.

    Raises:
        ValueError, TypeError: naming the argument, what was expected and what came.
    """
    kinds = {
        "points": _by_name(points, "points", lambda value: _depth(value, "points") <= 2),
        "labels": _by_name(labels, "labels", lambda value: _depth(value, "labels") <= 1),
        "boxes": _by_name(boxes, "boxes", lambda value: _depth(value, "boxes") == 1),
        "masks": _by_name(masks, "masks", lambda value: isinstance(value, Image.Image) or np.ndim(_array(value)) == 2),
    }
    given = {kind: values for kind, values in kinds.items() if values is not None}
    if not given.keys() - {"labels"}:
        raise ValueError(
            "expected points, boxes or masks that say what to segment, got none of them; segment_everything needs none"
        )
    _check_that_objects_agree(given, {"points": points, "labels": labels, "boxes": boxes, "masks": masks})
    names = list(dict.fromkeys(name for values in given.values() for name in values))
    return [read_object_prompt(name, **{kind: values.get(name) for kind, values in given.items()}) for name in names]


def read_object_prompt(
    name: Hashable, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None
) -> ObjectPrompt:
    """Read the prompt of one object, each argument in its flat form.

    Raises:
        ValueError, TypeError: naming the argument and the object.
    """
    read_points = _points(points, f"points of {name!r}")
    read_labels = _labels(labels, len(read_points), f"labels of {name!r}")
    box = None if boxes is None or np.size(boxes) == 0 else _box(boxes, f"box of {name!r}")
    mask = None if masks is None else _mask(masks, f"mask of {name!r}")
    if not read_points and box is None and mask is None:
        raise ValueError(f"object {name!r} has no prompt: expected points, a box or a mask")
    return ObjectPrompt(name, read_points, read_labels, box, mask)


def check_positions(prompts: Iterable[ObjectPrompt], size: Size) -> None:
    """Check that points and boxes are in the image or near it, as far as processors let them be.

    Args:
        prompts: of one image.
        size: its (height, width).

    Raises:
        ValueError: naming the object and the position.
    """
    height, width = size
    for prompt in prompts:
        corners = () if prompt.box is None else (prompt.box[:2], prompt.box[2:])
        for kind, positions in (("point", prompt.points), ("corner of the box", corners)):
            for x, y in positions:
                if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
                    raise ValueError(
                        f"a {kind} of {prompt.name!r} lies far outside the image of {width} x {height} pixels: "
                        f"({x:g}, {y:g})"
                    )


def _by_name(value: Any, argument: str, is_flat: Callable[[Any], bool]) -> dict[Hashable, Any] | None:
    """The prompts of one kind by name; those without names are numbered from 1."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return dict(value)
    if is_flat(value):
        return {1: value}
    if not hasattr(value, "__len__"):
        raise TypeError(f"{argument} must be a list, an array or a dictionary by name, got {type(value).__name__}")
    return dict(enumerate(value, start=1))


def _check_that_objects_agree(given: Mapping[str, Mapping[Hashable, Any]], values: Mapping[str, Any]) -> None:
    named = {kind for kind in given if isinstance(values[kind], Mapping)}
    if named and named != given.keys():
        unnamed = ", ".join(given.keys() - named)
        raise ValueError(f"{', '.join(sorted(named))} have names and {unnamed} have none: give all by name, or none")
    counts = {kind: len(objects) for kind, objects in given.items()}
    if not named and len(set(counts.values())) > 1:
        told = ", ".join(f"{count} in {kind}" for kind, count in counts.items())
        raise ValueError(f"the number of objects must be the same in all prompts, got {told}")


def _depth(value: Any, argument: str) -> int:
    """How deep a nesting of numbers is: 0 for a number, 1 for (x, y)."""
    depth = 0
    while True:
        if hasattr(value, "ndim"):
            return depth + int(value.ndim)
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            return depth
        if not value:
            return depth + 1
        depth, value = depth + 1, next((item for item in value if item is not None and np.size(item)), value[0])


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except ValueError:  # masks or points of different sizes
        return np.empty(len(value), object)


def _numbers(value: Any, name: str) -> np.ndarray:
    array = _array(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers, got {value!r}")
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    return numbers


def _points(value: Any, name: str) -> tuple[Point, ...]:
    if value is None or np.size(value) == 0:
        return ()
    numbers = _numbers(value, name)
    numbers = numbers[None] if numbers.ndim == 1 else numbers
    if numbers.ndim != 2 or numbers.shape[1] != 2:
        raise ValueError(f"{name} must be (x, y) or [(x, y), ...], got {value!r}")
    return tuple((float(x), float(y)) for x, y in numbers)


def _labels(value: Any, count: int, name: str) -> tuple[int, ...]:
    if value is None:
        return (1,) * count
    numbers = _array(value).reshape(-1).tolist()
    if len(numbers) != count:
        raise ValueError(f"{name} must be one for each of its {count} points, got {len(numbers)}")
    if any(number not in (0, 1) for number in numbers):
        raise ValueError(f"{name} must be 1 (on the object) or 0 (on the background), got {numbers}")
    return tuple(int(number) for number in numbers)


def _box(value: Any, name: str) -> tuple[float, float, float, float]:
    numbers = _numbers(value, name).reshape(-1)
    if numbers.shape != (4,) or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        raise ValueError(f"{name} must be (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1, got {value!r}")
    x0, y0, x1, y1 = numbers.tolist()
    return x0, y0, x1, y1


def _mask(value: Any, name: str) -> np.ndarray:
    found = read_masks(value, name, as_tensors=False)
    if len(found) != 1:
        raise ValueError(f"{name} must be one mask (height, width), got {len(found)}")
    mask = found[0].resize(found[0].size)
    if not mask.any():
        raise ValueError(f"{name} is empty")
    return mask
