"""Mask generation, from the image to finished masks."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..case import Bench, Case, Group, Job, groups, register
from ..images import as_square, load_image


def generate(bench: Bench, points_per_side: int, square: bool = False) -> Job:
    """Segments everything with a grid of points.

    transformers scales its grid by the longer side of the image. On a square image its points are those of the other
    two, and masks can be compared. Duplicates are then kept: which of two with nearly the same score is removed depends
    on rounding.
    """
    image = load_image(bench.image)
    image, nms = (as_square(image), 1.0) if square else (image, 0.7)
    generator = bench.implementation.mask_generator(bench.weights, bench.runtime, points_per_side, nms)
    return Job(partial(generator, image), read=bench.implementation.found)


def _register(name: str, title: str, side: int, names: frozenset[Group], square: bool = False, **settings: Any) -> None:
    prepare = partial(generate, points_per_side=side, square=square)
    register(Case(name, title, prepare, names, **settings))


_long: dict[str, Any] = {"warm_up": 0, "least_runs": 1, "runs": 3}
_register("masks-64-square", "mask generation, 64 points, square", 8, groups("quick", "full"), square=True, **_long)
_register("masks-256", "mask generation, 256 points", 16, groups("full"), seconds=600, **_long)
_register("masks-1024", "mask generation, 1024 points", 32, groups("full"), seconds=600, **_long)
_register(
    "masks-1024-large",
    "mask generation, 1024 points, large",
    32,
    groups("gpu"),
    square=True,
    preset="sam2.1-hiera-large",
    warm_up=2,
    least_runs=2,
    runs=9,
    seconds=30,
)
