"""The work on one image: prompts of several objects, their masks, undo and redo. It knows nothing of the browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..predictors.segmenter import Segmentation, Segmenter
from ..results.image_result import ImageResult
from ..results.records import ObjectMask, ShownPrompt
from .objects import ObjectList
from .undoable_work import Size, UndoableWork, WorkState

_LONGEST_HISTORY = 100


@dataclass(frozen=True, kw_only=True)
class _State(WorkState):
    found: Mapping[int, Segmentation] = field(default_factory=dict)  # by the objects' numbers


class ImageWork(UndoableWork[_State]):
    """An image with its objects. It is encoded once; a prompt costs a pass through the decoder.

    Each object has a segmentation of its own, so a prompt computes the mask of one object.

    Args:
        segmenter: the model.
        image: a PIL image or an array (height, width, 3) uint8.
    """

    ground = "image"

    def __init__(self, segmenter: Segmenter, image: Any):
        super().__init__(_State(), _LONGEST_HISTORY)
        self._encoded = segmenter.encode(image)

    # What is there

    @property
    def pixels(self) -> np.ndarray:
        """The image, uint8 (height, width, 3)."""
        return self._encoded.pixels

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self._encoded.size

    def is_prompted(self, number: int) -> bool:
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
        objects, number = self._with_active()
        point, labels = [self._read_point(x, y, label, number)], [int(label)]
        found = self._state.found.get(number)
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
        box = self._read_box(x0, y0, x1, y1)
        objects, number = self._with_active()
        found = self._state.found.get(number)
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

    def remove(self, number: int) -> None:
        """Remove an object and its mask."""
        left = {key: found for key, found in self._state.found.items() if key != number}
        self._change(_State(objects=self.objects.without(number), found=left))

    def clear(self) -> None:
        """Remove all objects."""
        self._change(_State(objects=ObjectList(given=0)))

    def _keep(self, objects: ObjectList, found: Segmentation) -> None:
        assert objects.active is not None
        self._change(_State(objects=objects, found={**self._state.found, objects.active: found}))
