"""What the page asks for, as plain values, and what that does to the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .clip_work import ClipWork
from .context import number, whole
from .image_work import ImageWork
from .live_work import LiveWork

Request = Mapping[str, Any]


def change_image(work: ImageWork, request: Request) -> None:
    """Do what a request of the image tab asks for.

    Raises:
        ValueError, KeyError, IndexError: it cannot be done; the work is as it was.
    """
    kind = request.get("kind")
    if kind == "point":
        work.add_point(*_point(request))
    elif kind == "box":
        work.add_box(*_box(request))
    elif kind == "choose":
        work.choose(whole(request.get("candidate"), "candidate"))
    elif kind == "undo":
        work.undo()
    elif kind == "redo":
        work.redo()
    else:
        _change_objects(work, request)


def change_clip(work: ClipWork, request: Request) -> int:
    """Do what a request of the clip tab asks for.

    Returns:
        The frame that is shown.

    Raises:
        ValueError, KeyError, IndexError: it cannot be done; the work is as it was.
    """
    kind, frame = request.get("kind"), whole(request.get("frame"), "frame")
    if not 0 <= frame < len(work):
        raise IndexError(f"the clip has the frames 0 to {len(work) - 1}, got {frame}")
    if kind == "point":
        work.add_point(frame, *_point(request))
    elif kind == "box":
        work.add_box(frame, *_box(request))
    elif kind == "undo":
        work.undo()
    elif kind == "redo":
        work.redo()
    elif kind == "stop":
        work.stop()
    elif kind != "frame":
        _change_objects(work, request)
    return frame


def change_live(work: LiveWork, request: Request) -> None:
    """Do what a request of the live tab asks for.

    Raises:
        ValueError, KeyError: it cannot be done; the work is as it was.
    """
    kind = request.get("kind")
    if kind == "point":
        work.add_point(*_point(request))
    elif kind == "box":
        work.add_box(*_box(request))
    else:
        _change_objects(work, request)


def _change_objects(work: ImageWork | ClipWork | LiveWork, request: Request) -> None:
    kind = request.get("kind")
    if kind == "new":
        work.add_object()
    elif kind == "select":
        work.select(whole(request.get("number"), "number"))
    elif kind == "remove":
        work.remove(whole(request.get("number"), "number"))
    elif kind == "rename":
        work.rename(whole(request.get("number"), "number"), str(request.get("name", "")))
    elif kind != "again":
        raise ValueError(f"unknown request {kind!r}")


def _point(request: Request) -> tuple[float, float, int]:
    label = whole(request.get("label", 1), "label")
    return number(request.get("x"), "x"), number(request.get("y"), "y"), label


def _box(request: Request) -> tuple[float, float, float, float]:
    corners = request.get("box")
    if not isinstance(corners, list) or len(corners) != 4:
        raise ValueError(f"box must be four numbers, got {corners!r}")
    x0, y0, x1, y1 = (number(value, "box") for value in corners)
    return x0, y0, x1, y1
