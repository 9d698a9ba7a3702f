"""What a side must be able to do, and what all of them share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image

from ..case import Output, Place, Unavailable
from ..pictures import Clip


class Track(NamedTuple):
    """Tracking under way: logits (objects, h, w) frame by frame, and the session that remembers the clip."""

    frames: Iterator[torch.Tensor]
    state: object


class Side(Protocol):
    """An implementation of SAM 2. Everything may raise `Unavailable`.

    Points are (x, y) in pixels of the model's input, (objects, 2), one foreground click an object.
    """

    name: str

    @property
    def import_code(self) -> str:
        """Python that imports the image model."""

    def load_code(self, weights: Path) -> str:
        """Python that imports the image model and loads a checkpoint."""

    def image_model(self, weights: Path, place: Place) -> Any:
        """The image model, ready at its place."""

    def encode(self, model: Any, pixels: torch.Tensor) -> Any:
        """A picture (1, 3, S, S) to whatever `segment` wants of it."""

    def segment(self, model: Any, encoded: Any, points: torch.Tensor) -> Output:
        """Three masks a point: `logits` (points, 3, h, w) and `scores` (points, 3)."""

    def track(self, weights: Path, place: Place, clip: Clip, points: torch.Tensor) -> Track:
        """Follows objects that are clicked on the first frame."""

    def mask_generator(
        self, weights: Path, place: Place, points_per_side: int, nms: float
    ) -> Callable[[Image.Image], Any]:
        """The pipeline that segments everything.

        Filters are those that transformers has by default, but for `nms`, the IoU of boxes beyond which masks are
        duplicates.
        """

    def found(self, raw: Any) -> Output:
        """What the generator returned as `masks` (K, H, W) bool and `scores` (K,)."""

    def preprocess(self, weights: Path) -> Callable[[Image.Image], torch.Tensor]:
        """A picture to the model's input."""

    def restore(self, weights: Path) -> Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]:
        """Logits (points, 3, h, w) to masks of a picture's (height, width)."""


def require(*modules: str) -> None:
    """Raises `Unavailable` for modules that are not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None and name not in sys.modules]
    if missing:
        raise Unavailable(f"needs {' and '.join(missing)}")


def settle(model: torch.nn.Module, place: Place) -> torch.nn.Module:
    """A model in evaluation mode at its place, compiled if asked for and possible."""
    model = model.eval().to(place.device, getattr(torch, place.dtype))
    if place.compiled is None:
        return model
    if type(model).compile is torch.nn.Module.compile:
        raise Unavailable("has no compile presets")
    model.compile(place.compiled)
    return model
