"""The prompts of a row: by kind or by name, as columns, JSON or dictionaries have them."""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..masks.rle import rle_to_array
from ..predictors.object_prompts import ObjectPrompt, read_object_prompts
from ..predictors.tracker import read_clip_prompts
from .rows import PROMPT_COLUMNS

PromptsByFrame = dict[int, list[ObjectPrompt]]


def read_row_prompts(prompts: Any, is_clip: bool) -> PromptsByFrame:
    """Read prompts.

    Args:
        prompts: JSON or a dictionary, of one of two forms. By kind: `points`, `labels`, `boxes`, `masks` as those of
            `segment`, on the first frame of a clip. By the objects' names: dictionaries as those of `track`, with
            `frame` in a clip alone. Masks are arrays, lists, bytes of an image file, or COCO's run lengths.
        is_clip: whether there are frames.

    Returns:
        The prompts by frame; those of an image are on frame 0.

    Raises:
        ValueError, TypeError: naming what is wrong.
    """
    if isinstance(prompts, (str, bytes)):
        try:
            prompts = json.loads(prompts)
        except json.JSONDecodeError as error:
            raise ValueError(f"prompts must be JSON, got {prompts[:40]!r}: {error}") from error
    if not isinstance(prompts, Mapping) or not prompts:
        raise TypeError(f"prompts must be a dictionary, got {type(prompts).__name__}")
    if prompts.keys() <= set(PROMPT_COLUMNS):
        decoded = {key: _decoded(value) if key == "masks" else value for key, value in prompts.items()}
        return {0: read_object_prompts(**decoded)}
    by_frame = read_clip_prompts({name: _with_mask(value) for name, value in prompts.items()})
    if not is_clip and set(by_frame) != {0}:
        raise ValueError(f"an image has no frames, and prompts are on {sorted(by_frame)}")
    return by_frame


def for_tracker(by_frame: PromptsByFrame) -> dict[Hashable, Any]:
    """Turn prompts into the form of `Tracker.track`."""
    prompts: dict[Hashable, list[dict[str, Any]]] = {}
    for frame, found in by_frame.items():
        for prompt in found:
            fields: dict[str, Any] = {"frame": frame, "box": prompt.box, "mask": prompt.mask}
            if prompt.points:
                fields |= {"points": prompt.points, "labels": prompt.labels}
            prompts.setdefault(prompt.name, []).append(fields)
    return dict(prompts)


def _with_mask(value: Any) -> Any:
    """Decode the mask of an object's prompt, or of several."""
    if isinstance(value, Mapping):
        renamed = {{"boxes": "box", "masks": "mask"}.get(key, key): item for key, item in value.items()}
        return {**renamed, "mask": _decoded(renamed["mask"])} if renamed.get("mask") is not None else renamed
    if isinstance(value, Sequence) and value and all(isinstance(item, Mapping) for item in value):
        return [_with_mask(item) for item in value]
    return value


def _decoded(masks: Any) -> Any:
    """Decode run lengths and image files among masks; what is neither stays."""
    if isinstance(masks, (bytes, bytearray)):
        with Image.open(io.BytesIO(masks)) as image:
            image.load()
            return image
    if isinstance(masks, Mapping):
        return rle_to_array(masks) if "counts" in masks else {name: _decoded(one) for name, one in masks.items()}
    if isinstance(masks, (list, tuple)) and masks:
        is_mask = isinstance(masks[0], (list, tuple)) and masks[0] and not hasattr(masks[0][0], "__len__")
        return np.asarray(masks) if is_mask else [_decoded(one) for one in masks]
    return masks
