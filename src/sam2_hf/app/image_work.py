"""The work on one image: prompts of several objects, their masks, undo and redo. It knows nothing of the browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..predictors.segmenter import Segmentation, Segmenter
from ..results.image_result import ImageResult
from ..results.records import ObjectMask, ShownPrompt
from .history import History
from .objects import ObjectList

Size = tuple[int, int]

_LONGEST_HISTORY = 100


@dataclass(frozen=True)
class _State:
    objects: ObjectList = field(default_factory=ObjectList)
    found: Mapping[int, Segmentation] = field(default_factory=dict)  # by the objects' numbers


class ImageWork:
    """An image with its objects. It is encoded once; a prompt costs a pass through the decoder.

    Each object has a segmentation of its own, so a prompt computes the mask of one object.

    Args:
        segmenter: the model.
        image: a PIL image or an array (height, width, 3) uint8.
    """

    def __init__(self, segmenter: Segmenter, image: Any):
        self._encoded = segmenter.encode(image)
        self._state = _State()
        self._history: History[_State] = History(_LONGEST_HISTORY)

    # What is there

    @property
    def pixels(self) -> np.ndarray:
        """The image, uint8 (height, width, 3)."""
        return self._encoded.pixels

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self._encoded.size

    @property
    def objects(self) -> ObjectList:
        """The objects."""
        return self._state.objects

    @property
    def can_undo(self) -> bool:
        """Whether a step can be taken back."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether a step that was taken back can be taken again."""
        return self._history.can_redo

    def has_mask(self, number: int) -> bool:
        """Whether an object has been prompted."""
        return number in self._state.found

    def source(self, number: int) -> Segmentation:
        """What an object's mask is computed from; another object after each change of it.

        Raises:
            KeyError: the object has no mask.
        """
        return self._state.found[number]

    def score(self, number: int) -> float | None:
        """The predicted IoU of an object's mask; None without one."""
        found = self._state.found.get(number)
        return None if found is None else float(found.predictions[0].scores[found.predictions[0].chosen])

    def prompt(self, number: int) -> ShownPrompt:
        """What an object was prompted with."""
        found = self._state.found.get(number)
        return ShownPrompt() if found is None else found.prompts[0].shown()

    def mask(self, number: int, size: Size | None = None) -> np.ndarray:
        """The mask of an object, bool, of the image's size or of another (height, width).

        Raises:
            KeyError: the object has none.
        """
        found = self._state.found[number]
        return self._encoded.masks_of(found.logits, size)[0].numpy()

    def candidates(self, number: int, size: Size) -> list[tuple[np.ndarray, float, bool]]:
        """List the masks that the model offers for an object.

        Returns:
            For each a mask (height, width) of the given size, its predicted IoU, and whether it is the object's.
            Three of them after a single point; one after other prompts.
        """
        found = self._state.found.get(number)
        if found is None:
            return []
        prediction = found.predictions[0]
        masks = self._encoded.masks_of(prediction.logits, size).numpy()
        scores = prediction.scores.tolist()
        return [(mask, scores[index], index == prediction.chosen) for index, mask in enumerate(masks)]

    def result(self) -> ImageResult:
        """All objects that have a mask, by their names.

        Raises:
            ValueError: there are none.
        """
        names = self.objects.names()
        found: list[ObjectMask] = []
        for number, name in names.items():
            if number in self._state.found:
                found.append(replace(self._state.found[number].objects[0], name=name))
        if not found:
            raise ValueError("there is no mask yet: click on an object")
        return ImageResult(found, self.pixels, self.size)

    # What is done

    def add_point(self, x: float, y: float, label: int = 1) -> None:
        """Prompt the active object with a point; a new one where there is none.

        Args:
            x: in pixels of the image.
            y: in pixels of the image.
            label: 1 on the object, 0 on the background.

        Raises:
            ValueError: the point is outside of the image, or the object's first point is on the background.
        """
        self._check_inside(x, y)
        objects = self._with_active()
        found = self._state.found.get(_active(objects))
        if found is None and label == 0:
            raise ValueError("the first point must be on the object; the next ones may be on the background")
        point, labels = [(float(x), float(y))], [int(label)]
        self._keep(
            objects,
            self._encoded.segment(points=point, labels=labels)
            if found is None
            else found.refine(points=point, labels=labels),
        )

    def add_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Prompt the active object with a box between two corners, in any order; a new one where there is none.

        Raises:
            ValueError: a corner is outside of the image.
        """
        self._check_inside(x0, y0)
        self._check_inside(x1, y1)
        objects = self._with_active()
        found = self._state.found.get(_active(objects))
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        self._keep(objects, self._encoded.segment(boxes=box) if found is None else found.refine(boxes=box))

    def choose(self, candidate: int) -> None:
        """Take another candidate as the active object's mask.

        Raises:
            KeyError: no object is active, or it has no mask.
            IndexError: there is no such candidate.
        """
        number = self.objects.active
        if number is None or number not in self._state.found:
            raise KeyError("there is no mask yet to choose another for")
        self._keep(self.objects, self._state.found[number].choose(candidate))

    def add_object(self) -> None:
        """Make a new object, which the next prompts go to. One that is still empty is used again."""
        for item in self.objects.objects:
            if item.number not in self._state.found:
                self._change(replace(self._state, objects=self.objects.with_active(item.number)))
                return
        self._change(replace(self._state, objects=self.objects.added()))

    def select(self, number: int) -> None:
        """Choose the object that the next prompts go to; this is not a step to undo."""
        self._state = replace(self._state, objects=self.objects.with_active(number))

    def rename(self, number: int, name: str) -> None:
        """Give an object another name; see `ObjectList.renamed`."""
        self._change(replace(self._state, objects=self.objects.renamed(number, name)))

    def remove(self, number: int) -> None:
        """Remove an object and its mask."""
        left = {key: found for key, found in self._state.found.items() if key != number}
        self._change(_State(self.objects.without(number), left))

    def clear(self) -> None:
        """Remove all objects."""
        self._change(_State(ObjectList(given=0)))

    def undo(self) -> None:
        """Take back the last step."""
        self._state = self._history.undo(self._state)

    def redo(self) -> None:
        """Take the step again that was taken back last."""
        self._state = self._history.redo(self._state)

    def _with_active(self) -> ObjectList:
        return self.objects.added() if self.objects.active is None else self.objects

    def _keep(self, objects: ObjectList, found: Segmentation) -> None:
        self._change(_State(objects, {**self._state.found, _active(objects): found}))

    def _change(self, state: _State) -> None:
        self._history.leave(self._state)
        self._state = state

    def _check_inside(self, x: float, y: float) -> None:
        height, width = self.size
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(f"({x:.0f}, {y:.0f}) is outside of the image of {width} x {height} pixels")


def _active(objects: ObjectList) -> int:
    assert objects.active is not None  # `_with_active` saw to it
    return objects.active
