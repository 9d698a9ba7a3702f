"""Everything in an image segmented with exported graphs: the search of `mask_generation`, with graphs that are asked.

A graph scores prompts and makes their masks at once, so masks of scores that do not pass are made and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..inputs.images import LoadedImage
from ..inputs.windows import ArrayWindows, ImageWindows, reading_size
from ..mask_generation.crops import Crop
from ..mask_generation.mask_table import MaskTable
from ..mask_generation.progress import counting_points
from ..mask_generation.search import Candidates, count_points, join_parts, layout, passes, search_crop
from ..mask_generation.settings import MaskGenerationSettings, resolve_names
from ..prompt_values import MASK_PROMPT_LIMIT

if TYPE_CHECKING:
    from ..sizes import Size

_BYTES_AT_ONCE = 2**24  # of embeddings, one set a prompt: more prompts at once are slower on a CPU


class Engine(Protocol):
    """What encodes and decodes, see `GraphEngine`."""

    def encode(self, image: Any, loaded: LoadedImage) -> list[np.ndarray]:
        """Encode an image."""
        ...

    def decode_inputs(
        self, embeddings: list[np.ndarray], inputs: Mapping[str, np.ndarray], multimask: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode prompts of an image: logits (1, P, M, h, w) and scores (1, P, M)."""
        ...


def find_everything(
    engine: Engine, image: np.ndarray | ImageWindows, input_size: Size, arguments: Mapping[str, Any]
) -> MaskTable:
    """Segment everything in an image.

    Args:
        engine: encodes and decodes.
        image: (height, width, 3) uint8, or what reads tiles.
        input_size: (height, width) of the graphs' input, in pixels.
        arguments: settings of mask generation, by any of their names.

    Returns:
        The masks that are found.

    Raises:
        TypeError: there is no such setting.
        ValueError: a setting means nothing.
    """
    given = resolve_names(arguments)
    known = {field.name for field in fields(MaskGenerationSettings)}
    for name in given.keys() - known:
        raise TypeError(f"exported graphs find everything without {name!r}; there are {', '.join(sorted(known))}")
    settings = MaskGenerationSettings(**given)
    windows = image if isinstance(image, ImageWindows) else ArrayWindows(image, data_format="channels_last")
    crops = layout(windows.size, settings)
    with counting_points(count_points(crops, settings), settings.progress) as asked:
        found = [_find_in_crop(engine, windows, input_size, crop, settings, asked) for crop in crops]
    return join_parts(found, crops, settings)


def _find_in_crop(
    engine: Engine,
    image: ImageWindows,
    input_size: Size,
    crop: Crop,
    settings: MaskGenerationSettings,
    asked: Callable[[int], object],
) -> MaskTable:
    size = crop.size if settings.tile_size is None else reading_size(crop.size, settings.tile_size)
    part = image.read(crop[:4], size)
    embeddings = engine.encode(part, LoadedImage(part, 255.0))
    at_once = max(1, _BYTES_AT_ONCE // embeddings[-1].nbytes)

    def find(points: np.ndarray) -> Iterator[Candidates]:
        clicks = points * np.array([input_size[1], input_size[0]], np.float32)
        first = _decode(engine, embeddings, clicks, settings.multimask_output)
        if not settings.use_m2m:
            yield _passing(first, settings.pred_iou_thresh)
            return
        logits, _, prompt = _passing(first, 0.0)
        for start in range(0, len(logits), at_once):
            few = slice(start, start + at_once)
            masks = logits[few].clip(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)
            again = _passing(_decode(engine, embeddings, clicks[prompt[few]], False, masks), settings.pred_iou_thresh)
            yield again._replace(prompt=prompt[few][again.prompt])

    return search_crop(find, at_once, crop, image.size, settings, asked)


def _decode(
    engine: Engine,
    embeddings: list[np.ndarray],
    clicks: np.ndarray,
    multimask: bool,
    masks: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (P, M, h, w) and scores (P, M) of one foreground click a prompt, (P, 2) in pixels of the graphs' input."""
    inputs = {
        "input_points": clicks[None, :, None],
        "input_labels": np.ones((1, len(clicks), 1), np.int64),
        "input_boxes": np.zeros((1, 0, 4), np.float32),
    }
    if masks is not None:
        inputs["input_masks"] = masks[None]
    logits, scores = engine.decode_inputs(embeddings, inputs, multimask)
    return logits[0], scores[0]


def _passing(decoded: tuple[np.ndarray, np.ndarray], threshold: float) -> Candidates:
    logits, scores = decoded
    chosen = passes(scores, threshold)
    return Candidates(logits[chosen], scores[chosen], np.nonzero(chosen)[0])
