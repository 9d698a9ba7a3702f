"""The optional pass backwards: objects that were found late are followed back to where they first were visible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..masks.rle import rle_to_mask
from ..results.clip_result import ClipResult
from ..results.records import ObjectMask
from .admission import intersections
from .candidates import low_resolution, resized
from .chunks import FrameMasks, ObjectChunks
from .forward_pass import ForwardPass


@torch.inference_mode()
def follow_back(work: ForwardPass, result: ClipResult, progress: bool = False) -> None:
    """Follow every object back from the first frame that shows it, as long as it is visible and has room.

    An object ends where it is hidden, or where other objects cover it as much as the rule for new objects forbids. What
    is held are the objects that are followed at a time.

    Args:
        work: the forward pass, of whose model, source and rule this makes use.
        result: the objects of the clip; those that are found earlier are added.
        progress: whether a bar shows how far it is.
    """
    starts: dict[int, list[ObjectMask]] = defaultdict(list)
    seen: set[Hashable] = set()
    for frame in result.frames:
        for item in result[frame].objects:
            if item.name not in seen:
                seen.add(item.name)
                starts[frame].append(item)
    last = max(starts, default=0)
    extras = {item.name: item.extra for items in starts.values() for item in items}
    followed = ObjectChunks(work.model, work.new_session, work.settings.objects_per_chunk)
    frames = work.source.iterate(last, None, -1)
    for index, frame in tqdm(frames, total=last + 1, disable=not progress, unit="frame", desc="backwards"):
        if len(followed) or (index > 0 and starts.get(index)):
            features = work.encode(frame)
            found = followed.run(index, features, reverse=True)
            ended = _ended(work, found, result[index].objects if index in result.frames else [])
            for row in ended:
                followed.pop(found.names[row])
            _add(work, result, index, found.take([row for row in range(len(found.names)) if row not in ended]), extras)
            if index > 0 and starts.get(index):
                followed.add(index, features, {item.name: _prompt(work, item) for item in starts[index]})
                followed.run(index, features, reverse=True)


def _ended(work: ForwardPass, found: FrameMasks, others: list[ObjectMask]) -> set[int]:
    """Rows of the objects that are hidden, or that others cover."""
    if not found.names:
        return set()
    masks = found.masks
    areas = masks.flatten(1).sum(1).float()
    taken = low_resolution([item.rle for item in others], masks[0]).any(0)
    covered = intersections(masks, taken[None])[:, 0] / areas.clamp(min=1)
    return {*((areas == 0) | (covered >= work.settings.rule.covered)).nonzero().flatten().tolist()}


def _add(work: ForwardPass, result: ClipResult, index: int, found: FrameMasks, extras: dict) -> None:
    objects = work.objects(found, extras)
    if objects:
        result.put(index, [*result[index].objects, *objects])


def _prompt(work: ForwardPass, item: ObjectMask) -> Tensor:
    return resized(rle_to_mask(item.rle).to(work.model.device), work.model.config.vision_config.input_size)
