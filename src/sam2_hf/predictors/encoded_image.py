"""An image that is encoded once, and the objects that prompts mean in it."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..arrays import Array, stack, to_numpy
from ..inputs.images import LoadedImage, read_images
from ..results.image_result import ImageResult
from ..results.records import ObjectMask, encode_masks
from .object_prompts import ObjectPrompt, check_positions, read_object_prompt, read_object_prompts

if TYPE_CHECKING:
    from .image_engine import ImageEngine


class HasEngine(Protocol):
    """What an image is encoded and decoded with: a `Segmenter`."""

    engine: ImageEngine


class EncodedImage:
    """An image that is encoded once, for any number of prompts.

    Args:
        segmenter: encodes it.
        image: a PIL image, path, URL, array or tensor.
        loaded: the same, read.
        embeddings: what it was encoded to, if it was.
    """

    def __init__(self, segmenter: HasEngine, image: Any, loaded: LoadedImage, embeddings: list[Array] | None = None):
        self.segmenter = segmenter
        self.pixels = as_bytes(loaded)
        self.size: tuple[int, int] = (self.pixels.shape[0], self.pixels.shape[1])
        self.file_name = file_name_of(image)
        self.embeddings: list[Array] = segmenter.engine.encode(image, loaded) if embeddings is None else embeddings

    def segment(self, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None) -> Segmentation:
        """Segment the objects that prompts mean; the forms of the prompts are those of `segment`."""
        prompts = read_object_prompts(points, labels, boxes, masks)
        return Segmentation(self, prompts, self.predict(prompts, [None] * len(prompts)))

    def predict(self, prompts: Sequence[ObjectPrompt], starts: Sequence[Array | None]) -> list[ObjectPrediction]:
        """Decode prompts.

        Args:
            prompts: one an object.
            starts: logits (h, w) of an earlier prediction to start from, or None, for each; a prompt's own mask gives
                way to them.

        Returns:
            What the model says of each object, as it would say it of that object alone.

        Raises:
            ValueError: a point or a box lies far outside the image.
        """
        check_positions(prompts, self.size)
        completed = [with_box_of_mask(prompt, self.size) for prompt in prompts]
        groups: dict[tuple[bool, bool, bool], list[int]] = {}
        for index, (prompt, start) in enumerate(zip(completed, starts, strict=True)):
            kind = (prompt.is_ambiguous and start is None, start is not None, start is None and prompt.mask is not None)
            groups.setdefault(kind, []).append(index)
        predictions: dict[int, ObjectPrediction] = {}
        for (is_ambiguous, _, has_masks), members in groups.items():
            logits = [start for index in members if (start := starts[index]) is not None]
            members_prompts = [completed[index] for index in members]
            arguments = prompt_arguments(members_prompts, has_masks)
            found = self.segmenter.engine.decode(self.embeddings, self.size, arguments, logits, is_ambiguous)
            predictions.update(zip(members, map(ObjectPrediction, *found), strict=True))
        return [predictions[index] for index in range(len(prompts))]

    def continued(self, prompt: ObjectPrompt, before: ObjectPrediction | None) -> ObjectPrediction:
        """Decode a prompt that was added to, from the mask that was there before."""
        return self.predict([prompt], [None if before is None else before.logits[before.chosen]])[0]

    def masks_of(self, logits: Array, size: tuple[int, int] | None = None) -> Array:
        """Bring logits (objects, h, w) to masks.

        Args:
            logits: of one or more objects.
            size: (height, width) of the masks; the image's by default. A small one is fast, to be looked at.

        Returns:
            bool (objects, height, width).
        """
        return self.segmenter.engine.restore(logits, size or self.size)


class ObjectPrediction:
    """What the model says of one object.

    Args:
        logits: (candidates, h, w) of the masks, three for a single point and one for everything else.
        scores: (candidates,), their predicted IoU.
        chosen: which of them is the object's mask; by default the one with the best score.
    """

    def __init__(self, logits: Array, scores: Array, chosen: int | None = None):
        self.logits = logits
        self.scores = scores
        self.chosen = int(scores.argmax()) if chosen is None else chosen

    def choosing(self, candidate: int) -> ObjectPrediction:
        """The same with another candidate as the mask."""
        return ObjectPrediction(self.logits, self.scores, candidate)


class Segmentation(ImageResult):
    """The objects of an image, which can be refined. Masks of the image's size are computed when they are first used.

    Args:
        encoded: the image.
        prompts: one an object.
        predictions: what the model said of each.
    """

    def __init__(self, encoded: EncodedImage, prompts: Sequence[ObjectPrompt], predictions: Sequence[ObjectPrediction]):
        self.encoded = encoded
        self.prompts = list(prompts)
        self.predictions = list(predictions)
        super().__init__(self._compute_masks, encoded.pixels, encoded.size, encoded.file_name)

    @property
    def names(self) -> list[Hashable]:
        """The names of the objects, or their numbers from 1."""
        return [prompt.name for prompt in self.prompts]

    @property
    def logits(self) -> Array:
        """(objects, h, w), of the chosen masks."""
        return stack([found.logits[found.chosen] for found in self.predictions])

    def _compute_masks(self) -> list[ObjectMask]:
        rles = encode_masks(self.encoded.masks_of(self.logits))
        return [
            ObjectMask(prompt.name, rle, float(found.scores[found.chosen]), prompt=prompt.shown())
            for prompt, found, rle in zip(self.prompts, self.predictions, rles, strict=True)
        ]

    def refine(
        self, name: Hashable | None = None, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None
    ) -> Segmentation:
        """Add to the prompts of one object, starting from its mask.

        Args:
            name: the object; may be left out where there is one.
            points: further points (x, y) or [(x, y), ...], beside those given before.
            labels: of the further points, 1 on the object and 0 on the background; 1 by default.
            boxes: a box (x0, y0, x1, y1) instead of the one before.
            masks: a mask (height, width) to start from instead of the one found.

        Returns:
            All objects, this one with its new mask. The result before is not changed.

        Raises:
            KeyError: there is no object of that name.
            ValueError, TypeError: naming the argument.
        """
        index = self._index(name)
        before, found = self.prompts[index], self.predictions[index]
        further = read_object_prompt(before.name, points, labels, boxes, masks)
        prompt = ObjectPrompt(
            before.name,
            before.points + further.points,
            before.labels + further.labels,
            before.box if further.box is None else further.box,
            before.mask if further.mask is None else further.mask,
        )
        new = self.encoded.continued(prompt, found if further.mask is None else None)
        return self._with(index, prompt, new)

    def candidates(self, name: Hashable | None = None) -> list[tuple[np.ndarray, float]]:
        """List the masks (height, width), bool, that the model offers for an object, with their predicted IoU."""
        found = self.predictions[self._index(name)]
        masks = to_numpy(self.encoded.masks_of(found.logits))
        return [(mask, float(score)) for mask, score in zip(masks, found.scores, strict=True)]

    def choose(self, candidate: int, name: Hashable | None = None) -> Segmentation:
        """Take another candidate as an object's mask, by its number in `candidates`.

        Raises:
            IndexError: there is no such candidate.
        """
        index = self._index(name)
        found = self.predictions[index]
        if not 0 <= candidate < len(found.scores):
            raise IndexError(f"candidate must be 0 to {len(found.scores) - 1}, got {candidate}")
        return self._with(index, self.prompts[index], found.choosing(candidate))

    def _with(self, index: int, prompt: ObjectPrompt, prediction: ObjectPrediction) -> Segmentation:
        prompts, predictions = list(self.prompts), list(self.predictions)
        prompts[index], predictions[index] = prompt, prediction
        return type(self)(self.encoded, prompts, predictions)

    def _index(self, name: Hashable | None) -> int:
        if name is None and len(self.names) == 1:
            return 0
        if name not in self.names:
            raise KeyError(f"name must be one of {self.names}, got {name!r}")
        return self.names.index(name)


def prompt_arguments(prompts: Sequence[ObjectPrompt], has_masks: bool) -> dict[str, Any]:
    """Nest the prompts of the objects of one image as a processor takes them.

    Args:
        prompts: one an object.
        has_masks: whether each has a mask that is to be used.
    """
    given: dict[str, Any] = {}
    if any(prompt.points for prompt in prompts):
        given["input_points"] = [[[list(point) for point in prompt.points] for prompt in prompts]]
        given["input_labels"] = [[list(prompt.labels) for prompt in prompts]]
    if any(prompt.box is not None for prompt in prompts):
        given["input_boxes"] = [[None if prompt.box is None else list(prompt.box) for prompt in prompts]]
    if has_masks:
        given["input_masks"] = [[prompt.mask for prompt in prompts]]
    return given


def with_box_of_mask(prompt: ObjectPrompt, size: tuple[int, int]) -> ObjectPrompt:
    """Put the box around a mask beside it: a mask alone tells the decoder little.

    Args:
        prompt: left as it is where it has points or a box, or no mask.
        size: (height, width) of the image.
    """
    if prompt.mask is None or prompt.points or prompt.box is not None:
        return prompt
    rows, columns = np.flatnonzero(prompt.mask.any(1)), np.flatnonzero(prompt.mask.any(0))
    down, across = size[0] / prompt.mask.shape[0], size[1] / prompt.mask.shape[1]
    corners = (columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)
    x0, y0, x1, y1 = map(float, corners)
    return replace(prompt, box=(x0, y0, x1, y1))


def read_image(image: Any, as_tensors: bool) -> LoadedImage:
    """Read one image.

    Raises:
        TypeError, ValueError: it cannot be read, or is a batch.
    """
    found = read_images(image, as_tensors=as_tensors)
    if len(found) != 1:
        raise ValueError(f"image must be one image, or a list of images, got a batch of {len(found)}")
    return found[0]


def as_bytes(loaded: LoadedImage) -> np.ndarray:
    """An image as uint8 (height, width, 3)."""
    return np.ascontiguousarray(to_numpy(loaded.as_bytes()).transpose(1, 2, 0))


def file_name_of(image: Any) -> str:
    """Name the file that an image is or came from; "" if it was in memory."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else getattr(image, "filename", "") or ""
