"""What the page shows of the work: messages of plain values, in which images are sent once and named afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..masks.drawing import palette
from ..results.image_result import ImageResult
from ..results.records import ShownPrompt
from .clip_work import ClipWork
from .image_work import ImageWork
from .live_work import LiveWork
from .objects import NamedObject, ObjectList
from .pixels import display_size, image_address, masks_address, reduced

Message = dict[str, Any]

_CANDIDATE_SIDE = 400
_MOST_SENT = 400  # names of images that the page is known to have


class Sender:
    """Names images by their content, and sends each once. The page asks again for one that it does not have."""

    def __init__(self) -> None:
        self._sent: dict[str, None] = {}
        self._drawn: dict[str, tuple[tuple[Any, ...], str, str]] = {}

    def image(self, slot: str, made_of: Sequence[Any], draw: Callable[[], str]) -> Message:
        """Describe an image: its name, and its content where it was not sent before.

        Args:
            slot: what it is for; the last image of each slot is remembered.
            made_of: objects that it is drawn from. While they are the same ones, it is not drawn again.
            draw: gives its data address.
        """
        known, name, address = self._drawn.get(slot, ((), "", ""))
        if not name or len(known) != len(made_of) or not all(map(_is_same, known, made_of)):
            address = draw()
            name = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()[:16]
            self._drawn[slot] = (tuple(made_of), name, address)
        if name in self._sent:
            return {"key": name}
        self._sent[name] = None
        while len(self._sent) > _MOST_SENT:
            del self._sent[next(iter(self._sent))]
        return {"key": name, "url": address}

    def forget(self) -> None:
        """Send everything again from now on."""
        self._sent.clear()


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, (int, tuple)) and one == other)


def image_message(work: ImageWork, sender: Sender, everything: ImageResult | None = None) -> Message:
    """Describe the work on an image.

    Args:
        work: the image with its objects.
        sender: of the page.
        everything: shown instead of the objects, where it is given.
    """
    size = display_size(work.size)
    message = _message(work.size, size, work.objects)
    message["image"] = sender.image("image", [work.pixels], lambda: image_address(work.pixels, size))
    message.update(can_undo=work.can_undo, can_redo=work.can_redo)
    for row in message["objects"]:
        number = row["number"]
        row["score"] = work.score(number)
        _describe_prompt(row, work.prompt(number))
    if everything is not None:
        message["layers"] = [_everything_layer(everything, size, sender)] if everything.objects else []
        message["everything"] = len(everything)
        return message
    for item in work.objects.objects:
        if work.is_prompted(item.number):
            message["layers"].append(_image_layer(work, item, size, sender))
    if work.objects.active is not None:
        message["candidates"] = _candidates(work, work.objects[work.objects.active], sender)
    return message


def clip_message(work: ClipWork, frame: int, sender: Sender) -> Message:
    """Describe one frame of the work on a clip, and the timelines of its objects."""
    size = display_size(work.size)
    message = _message(work.size, size, work.objects)
    message["image"] = sender.image("image", [work, frame], lambda: image_address(work.pixels(frame), size))
    message.update(can_undo=work.can_undo, can_redo=work.can_redo)
    masks, timelines = work.masks(frame), work.timelines()
    for item, row in zip(work.objects.objects, message["objects"], strict=True):
        _describe_prompt(row, work.prompt(item.number, frame))
        row.update(timeline=timelines[item.number], prompted=work.prompted_frames(item.number))
        found = masks.get(item.number)
        if found is not None:
            row.update(score=found.score, visible=found.visible)
        if found is not None and found.area:
            mask = reduced(found.mask, size)
            message["layers"].append(_layer(item, [found, item.colour], mask, sender))
    message["clip"] = {
        "frame": frame,
        "frames": len(work),
        "fps": work.clip.fps,
        "tracking": work.is_tracking,
        "needs_tracking": work.needs_tracking,
    }
    return message


def live_message(work: LiveWork, result: ImageResult | None, sender: Sender) -> Message:
    """Describe the newest frame of a camera; the page has its pixels."""
    height, width = work.size or (1, 1)
    message = _message((height, width), (height, width), work.objects)
    found = {} if result is None else {item.name: item for item in result.objects}
    for item, row in zip(work.objects.objects, message["objects"], strict=True):
        mask = found.get(item.number)
        if mask is not None:
            row.update(score=mask.score, visible=mask.visible)
            if mask.area:
                message["layers"].append(_layer(item, [mask, item.colour], mask.mask, sender))
    return message


def _message(size: tuple[int, int], shown: tuple[int, int], objects: ObjectList) -> Message:
    rows = [
        {"number": item.number, "name": item.name, "colour": "#{:02x}{:02x}{:02x}".format(*item.colour), "score": None}
        for item in objects.objects
    ]
    return {
        "width": size[1],
        "height": size[0],
        "shown": [shown[1], shown[0]],
        "layers": [],
        "objects": rows,
        "active": objects.active,
        "candidates": [],
        "can_undo": False,
        "can_redo": False,
    }


def _describe_prompt(row: Message, prompt: ShownPrompt) -> None:
    row["points"] = [[x, y, label] for (x, y), label in zip(prompt.points, prompt.labels, strict=True)]
    row["box"] = list(prompt.box) if prompt.box is not None else None


def _layer(item: NamedObject, made_of: Sequence[Any], mask: np.ndarray, sender: Sender) -> Message:
    image = sender.image(f"mask {item.number}", made_of, lambda: masks_address([mask], [item.colour]))
    return {"number": item.number, **image}


def _image_layer(work: ImageWork, item: NamedObject, size: tuple[int, int], sender: Sender) -> Message:
    def draw() -> str:
        return masks_address([work.mask(item.number, size)], [item.colour])

    return {
        "number": item.number,
        **sender.image(f"mask {item.number}", [work.source(item.number), item.colour], draw),
    }


def _everything_layer(everything: ImageResult, size: tuple[int, int], sender: Sender) -> Message:
    def draw() -> str:
        largest_first = sorted(everything.objects, key=lambda item: -item.area)
        masks = [reduced(item.mask, size) for item in largest_first]
        return masks_address(masks, palette(len(masks)))

    return {"number": 0, **sender.image("everything", [everything], draw)}


def _candidates(work: ImageWork, item: NamedObject, sender: Sender) -> list[Message]:
    height, width = work.size
    scale = _CANDIDATE_SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    found = work.candidates(item.number, size)
    if len(found) < 2:
        return []
    window = _window_around(np.any([mask for mask, *_ in found], axis=0))
    listed = []
    for index, (mask, score, chosen) in enumerate(found):
        drawn = sender.image(f"candidate {index}", [work.source(item.number), index], _drawing(mask, item))
        listed.append({"score": score, "chosen": chosen, "window": window, **drawn})
    return listed


def _window_around(mask: np.ndarray) -> list[float]:
    """A square with room around a mask, as (left, top, side) in parts of the image's width, and width by height."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return [0.0, 0.0, 1.0, width / height]
    side = 1.3 * max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    side = min(max(side, width / 12), max(height, width))
    left = (columns[0] + columns[-1] + 1 - side) / 2
    top = (rows[0] + rows[-1] + 1 - side) / 2
    left, top = (
        float(np.clip(at, min(0, most), max(0, most))) for at, most in ((left, width - side), (top, height - side))
    )
    return [left / width, top / width, float(side) / width, width / height]


def _drawing(mask: np.ndarray, item: NamedObject) -> Callable[[], str]:
    return lambda: masks_address([mask], [item.colour])
