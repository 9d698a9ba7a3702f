"""Tracking, frame by frame, and the memory that a stream holds.

A frame reads the memories of seven earlier ones. The first frames have fewer to read, and do not count.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..case import Bench, Case, Group, Job, groups, register
from ..images import Clip, load_image
from .image import points_for

_FILLING = 8


def track(bench: Bench, objects: int, num_frames: int) -> Job:
    """Tracks objects in the next frame of a stream, in every run."""
    clip = Clip(load_image(bench.image), bench.image_size, num_frames, bench.runtime.device)
    points = points_for(bench, objects)
    tracking = bench.implementation.track(bench.weights, bench.runtime, clip, points)
    return Job(
        run=partial(next, tracking.frames),
        read=lambda logits: {"logits": logits},
        state=tracking.state,
    )


def _register(name: str, title: str, objects: int, image_size: int, names: frozenset[Group], **settings: Any) -> None:
    frames = settings.setdefault("warm_up", _FILLING) + settings["runs"] + 1  # the last to count the arithmetic
    prepare = partial(track, objects=objects, num_frames=frames)
    register(Case(name, title, prepare, names, image_size=image_size, **settings))


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"


for _count in (1, 4, 8, 16):
    for _size in (1024, 512):
        _register(
            f"video-{_size}-{_count}",
            f"a frame at {_size} px, {_objects(_count)}",
            _count,
            _size,
            groups("full"),
            runs=7 if _size == 512 else 3,
        )
    _register(
        f"video-256-{_count}",
        f"a frame at 256 px, small model, {_objects(_count)}",
        _count,
        256,
        groups("quick", "full") if _count in (1, 8) else groups("full"),
        runs=9,
        preset="sam2.1-hiera-small",
    )
    if _count in (1, 16):
        _register(
            f"video-gpu-{_count}",
            f"a frame at 1024 px, {_objects(_count)}",
            _count,
            1024,
            groups("gpu"),
            warm_up=20,
            runs=60,
            seconds=30,
        )


def _register_growth(
    name: str, objects: int, image_size: int, frames: int, names: frozenset[Group], **more: Any
) -> None:
    _register(
        name,
        f"held by a stream at {image_size} px, {_objects(objects)}, {frames} frames",
        objects,
        image_size,
        names,
        preset="sam2.1-hiera-small" if image_size == 256 else "sam2.1-hiera-tiny",
        warm_up=0,
        least_runs=frames,
        runs=frames,
        measures_growth=True,
        **more,
    )


_register_growth("growth-256-1", 1, 256, 24, groups("quick", "full"))
_register_growth("growth-256-8", 8, 256, 24, groups("full"))
_register_growth("growth-1024-1", 1, 1024, 24, groups("full"))
# Only where it is asked for: it takes long, and transformers would hold 12 GiB at the end.
_register_growth("growth-1024-1-long", 1, 1024, 1000, groups(), implementations=("ours",))
