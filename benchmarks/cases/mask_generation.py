"""Everything in a picture segmented, from the picture to finished masks."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..case import Bench, Case, Group, Job, groups, register
from ..pictures import as_square, load_picture


def generate(bench: Bench, points_per_side: int, square: bool = False) -> Job:
    """The pipeline with a grid of points.

    transformers scales its grid by the longer side of the picture. On a square one it clicks where the other two do,
    and the masks can be compared; there all are kept, for of duplicates with nearly the same score rounding picks one.
    """
    picture = load_picture(bench.picture)
    picture, nms = (as_square(picture), 1.0) if square else (picture, 0.7)
    generator = bench.side.mask_generator(bench.weights, bench.place, points_per_side, nms)
    return Job(partial(generator, picture), read=bench.side.found)


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
