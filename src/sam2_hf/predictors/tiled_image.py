"""Prompts on images of any size: each object is segmented in a window around its prompt, which grows with its mask."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array
from ..inputs.images import LoadedImage
from ..inputs.lru_cache import LruCache
from ..inputs.window_files import open_windows
from ..inputs.windows import Box, reading_size
from ..masks.boxes import is_near_crop_edge
from ..masks.rle import rle_to_array, rle_to_box
from ..results.records import ObjectMask
from .embedding_cache import EmbeddingCache
from .encoded_image import EncodedImage, HasEngine, ObjectPrediction, Segmentation, with_box_of_mask
from .object_prompts import ObjectPrompt, read_object_prompts

if TYPE_CHECKING:
    from collections.abc import Hashable

PREVIEW = 4096
"""How many pixels the longer side of an image that is read by windows has at most where it is shown."""

_MOST_WINDOWS = 8  # whose embeddings are kept in memory
_ROOM = 1.5  # how much larger than its prompt a window is at least
_STEPS = 4  # windows begin at multiples of this part of their side, so that prompts nearby share one
_NEAR = 1 / 50  # of a window's side, within which a mask is taken to go on outside
_MASK_SIDE = 512  # pixels that a mask prompt has in a window


class WindowPrediction(ObjectPrediction):
    """What the model says of an object in a window.

    Args:
        found: its logits and scores, see `ObjectPrediction`.
        window: left, top, right, bottom (exclusive), in pixels of the image.
        chosen: which candidate is the object's mask.
    """

    def __init__(self, found: ObjectPrediction, window: Box, chosen: int | None = None):
        super().__init__(found.logits, found.scores, found.chosen if chosen is None else chosen)
        self.window = window

    def choosing(self, candidate: int) -> WindowPrediction:
        """The same with another candidate as the mask."""
        return WindowPrediction(self, self.window, candidate)


class TiledImage:
    """An image of any size, of which only what prompts need is read and encoded.

    Args:
        segmenter: encodes and decodes.
        image: anything that `open_windows` takes.
        tile_size: side of the windows in pixels. A prompt or a mask that does not fit gets one of twice the side, and
            so on, at half the resolution each time.
        cache: a folder that keeps embeddings for later programs, or the cache itself; none by default.

    Raises:
        TypeError, ValueError: the image cannot be read.
    """

    def __init__(self, segmenter: HasEngine, image: Any, tile_size: int = 1024, cache: Any = None):
        if isinstance(tile_size, bool) or not isinstance(tile_size, int) or tile_size < 1:
            raise ValueError(f"tile_size must be a whole number of at least 1, got {tile_size!r}")
        self.segmenter = segmenter
        self.windows = open_windows(image)
        self.size = self.windows.size
        self.file_name = self.windows.file_name
        self.pixels = self.windows.shown_at(PREVIEW)
        """Reads the image to be looked at: uint8 (height, width, 3)."""
        self.tile_size = tile_size
        self.cache = cache if cache is None or isinstance(cache, EmbeddingCache) else EmbeddingCache(cache)
        self._encoded: LruCache[Box, EncodedWindow] = LruCache(_MOST_WINDOWS)

    def segment(
        self, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None
    ) -> TiledSegmentation:
        """Segment the objects that prompts mean; the forms of the prompts are those of `segment`."""
        prompts = read_object_prompts(points, labels, boxes, masks)
        return TiledSegmentation(self, prompts, self.predict(prompts))

    def predict(
        self, prompts: Sequence[ObjectPrompt], starts: Sequence[WindowPrediction | None] = ()
    ) -> list[WindowPrediction]:
        """Decode prompts, each in a window of its own; prompts that lie close to each other share one.

        Args:
            prompts: one an object.
            starts: for each, what to start from, or None.

        Returns:
            What the model says of each, in the smallest window that its mask does not seem to go on outside of.
        """
        prompts = [with_box_of_mask(prompt, self.size) for prompt in prompts]
        before = list(starts) or [None] * len(prompts)
        extents = [self._extent(prompt) for prompt in prompts]
        windows = [
            start.window if start is not None and _holds(start.window, extent) else self._window(extent)
            for start, extent in zip(before, extents, strict=True)
        ]
        found: dict[int, WindowPrediction] = {}
        waiting = list(range(len(prompts)))
        while waiting:
            for window in dict.fromkeys(windows[index] for index in waiting):
                members = [index for index in waiting if windows[index] == window]
                local = [_within(prompts[index], window, self.size) for index in members]
                logits = [_logits_in(window, before[index]) for index in members]
                predictions = self._window_of(window).predict(local, logits)
                found.update(
                    (index, WindowPrediction(prediction, window))
                    for index, prediction in zip(members, predictions, strict=True)
                )
            waiting = [index for index in waiting if self._is_cut_off(found[index])]
            for index in waiting:
                windows[index] = self._larger(found[index], extents[index])
        return [found[index] for index in range(len(prompts))]

    def continued(self, prompt: ObjectPrompt, before: ObjectPrediction | None) -> WindowPrediction:
        """Decode a prompt that was added to, from the mask that was there before."""
        return self.predict([prompt], [before if isinstance(before, WindowPrediction) else None])[0]

    def run_lengths(self, found: WindowPrediction, candidate: int | None = None) -> np.ndarray:
        """Bring a mask to the image's size, as run lengths: the chosen one, or another candidate."""
        left, top, right, bottom = found.window
        logits = found.logits[found.chosen if candidate is None else candidate][None]
        return self.segmenter.engine.run_lengths(logits, (bottom - top, right - left), self.size, (top, left))[0]

    def _extent(self, prompt: ObjectPrompt) -> tuple[float, float, float, float]:
        """The box around all that a prompt says."""
        height, width = self.size
        corners = list(prompt.points)
        if prompt.box is not None:
            corners += [prompt.box[:2], prompt.box[2:]]
        if prompt.mask is not None:
            rows, columns = np.flatnonzero(prompt.mask.any(1)), np.flatnonzero(prompt.mask.any(0))
            down, across = height / prompt.mask.shape[0], width / prompt.mask.shape[1]
            corners += [(columns[0] * across, rows[0] * down), ((columns[-1] + 1) * across, (rows[-1] + 1) * down)]
        x, y = np.array(corners, np.float64).T
        x, y = x.clip(0, width), y.clip(0, height)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _window(self, extent: tuple[float, float, float, float], least: int = 0) -> Box:
        """The window around a box, of `tile_size` times a power of two, of at least so many pixels a side."""
        side = self.tile_size
        while side < max(least, _ROOM * max(extent[2] - extent[0], extent[3] - extent[1])) and side < max(self.size):
            side *= 2
        step = max(1, side // _STEPS)
        edges = []
        for axis, length in ((0, self.size[1]), (1, self.size[0])):
            middle = (extent[axis] + extent[axis + 2]) / 2
            begin = round((middle - side / 2) / step) * step
            edges.append(max(0, min(begin, length - side)))
        return edges[0], edges[1], min(edges[0] + side, self.size[1]), min(edges[1] + side, self.size[0])

    def _larger(self, found: WindowPrediction, extent: tuple[float, float, float, float]) -> Box:
        left, top, right, bottom = self._box(found)
        around = min(left, extent[0]), min(top, extent[1]), max(right + 1.0, extent[2]), max(bottom + 1.0, extent[3])
        return self._window(around, 2 * _side(found.window))

    def _box(self, found: WindowPrediction) -> Box:
        """Around the mask, right and bottom inclusive."""
        return rle_to_box({"size": self.size, "counts": self.run_lengths(found)})

    def _is_cut_off(self, found: WindowPrediction) -> bool:
        height, width = self.size
        if found.window == (0, 0, width, height):
            return False
        near = max(1.0, _NEAR * _side(found.window))
        boxes, windows = np.array([self._box(found)]), np.array([found.window])
        return bool(is_near_crop_edge(boxes, windows, self.size, near)[0])

    def _window_of(self, window: Box) -> EncodedWindow:
        encoded = self._encoded.get(window)
        if encoded is None:
            encoded = EncodedWindow(self, window)
            self._encoded.put(window, encoded)
        return encoded


class EncodedWindow(EncodedImage):
    """A window that is encoded once, or whose embeddings are in the cache.

    Args:
        image: it is a part of.
        window: left, top, right, bottom (exclusive).
    """

    def __init__(self, image: TiledImage, window: Box):
        left, top, right, bottom = window
        self.segmenter = image.segmenter
        self.size = bottom - top, right - left
        self.file_name = ""
        engine = self.segmenter.engine
        size = reading_size(self.size, image.tile_size)
        if image.cache is None:
            self.embeddings = self._encode(image, window, size)
            return
        known = image.windows.identity
        pixels = None if known is not None else image.windows.read(window, size)
        content = known or hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
        key = (content, engine.fingerprint, window, size)
        cached = image.cache.get(key, engine.as_tensors)
        if cached is None:
            self.embeddings = self._encode(image, window, size, pixels)
            image.cache.put(key, self.embeddings)
        else:
            self.embeddings = engine.place(cached)

    def _encode(
        self, image: TiledImage, window: Box, size: tuple[int, int], pixels: np.ndarray | None = None
    ) -> list[Array]:
        read = image.windows.read(window, size) if pixels is None else pixels
        engine = self.segmenter.engine
        return engine.encode(None, LoadedImage(engine.as_array(read), 255.0))


class TiledSegmentation(Segmentation):
    """The objects of an image of any size, which can be refined. Each is known in a window of its own.

    Args:
        encoded: the image.
        prompts: one an object.
        predictions: what the model said of each.
    """

    encoded: TiledImage  # type: ignore[assignment]
    predictions: list[WindowPrediction]  # type: ignore[assignment]

    def __init__(self, encoded: TiledImage, prompts: Sequence[ObjectPrompt], predictions: Sequence[WindowPrediction]):
        super().__init__(encoded, prompts, predictions)  # type: ignore[arg-type]

    def _compute_masks(self) -> list[ObjectMask]:
        return [
            ObjectMask(
                prompt.name,
                {"size": list(self.size), "counts": self.encoded.run_lengths(found)},
                float(found.scores[found.chosen]),
                prompt=prompt.shown(),
            )
            for prompt, found in zip(self.prompts, self.predictions, strict=True)
        ]

    def candidates(self, name: Hashable | None = None) -> list[tuple[np.ndarray, float]]:
        """List the masks that the model offers for an object, (height, width) of the whole image, bool, with scores."""
        found = self.predictions[self._index(name)]
        return [
            (rle_to_array({"size": self.size, "counts": self.encoded.run_lengths(found, number)}), float(score))
            for number, score in enumerate(found.scores)
        ]


def _side(window: Box) -> int:
    return max(window[2] - window[0], window[3] - window[1])


def _holds(window: Box, extent: tuple[float, float, float, float]) -> bool:
    return window[0] <= extent[0] and window[1] <= extent[1] and extent[2] <= window[2] and extent[3] <= window[3]


def _logits_in(window: Box, start: WindowPrediction | None) -> Array | None:
    """The logits to start from, where they are of this window."""
    return None if start is None or start.window != window else start.logits[start.chosen]


def _within(prompt: ObjectPrompt, window: Box, size: tuple[int, int]) -> ObjectPrompt:
    """A prompt of an image in pixels of a window."""
    left, top, right, bottom = window
    points = tuple((x - left, y - top) for x, y in prompt.points)
    box = prompt.box and (prompt.box[0] - left, prompt.box[1] - top, prompt.box[2] - left, prompt.box[3] - top)
    mask = prompt.mask
    if mask is not None:
        rows, columns = (
            (begin + (np.arange(_MASK_SIDE) + 0.5) * (end - begin) / _MASK_SIDE) * count / length
            for begin, end, count, length in zip((top, left), (bottom, right), mask.shape, size, strict=True)
        )
        mask = mask[np.ix_(rows.astype(np.int64), columns.astype(np.int64))]
    return replace(prompt, points=points, box=box, mask=mask)
