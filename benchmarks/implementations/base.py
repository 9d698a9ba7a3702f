"""The interface of implementations, and what they share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image

from ..images import Clip
from ..settings import Output, Runtime, Unavailable


class Track(NamedTuple):
    """Logits (objects, h, w) of one frame after the other, and the session."""

    frames: Iterator[torch.Tensor]
    state: object


class Implementation(Protocol):
    """An implementation of SAM 2. All methods may raise `Unavailable`.

    Points (objects, 2) are (x, y) in pixels of the model's input, one foreground click for each object.
    """

    name: str

    @property
    def import_code(self) -> str:
        """Code that imports the image model."""

    def load_code(self, weights: Path) -> str:
        """Code that imports the image model and loads a checkpoint."""

    def image_model(self, weights: Path, runtime: Runtime) -> Any:
        """Loads the image model."""

    def encode(self, model: Any, pixels: torch.Tensor) -> Any:
        """Encodes pixels (1, 3, S, S) for `segment`."""

    def segment(self, model: Any, encoded: Any, points: torch.Tensor) -> Output:
        """Predicts three masks for each point: `logits` (points, 3, h, w) and `scores` (points, 3)."""

    def track(self, weights: Path, runtime: Runtime, clip: Clip, points: torch.Tensor) -> Track:
        """Tracks objects that are clicked on the first frame."""

    def mask_generator(
        self, weights: Path, runtime: Runtime, points_per_side: int, nms: float
    ) -> Callable[[Image.Image], Any]:
        """Loads the pipeline that segments everything, with the filters that transformers has by default.

        Args:
            weights: checkpoint folder.
            runtime: device, dtype and threads.
            points_per_side: of the grid.
            nms: IoU of boxes beyond which masks are duplicates.
        """

    def found(self, raw: Any) -> Output:
        """Converts the generator's result to `masks` (K, H, W) bool and `scores` (K,)."""

    def preprocess(self, weights: Path) -> Callable[[Image.Image], torch.Tensor]:
        """Loads the function from an image to the model's input."""

    def restore(self, weights: Path) -> Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]:
        """Loads the function from logits (points, 3, h, w) to masks of an image's (height, width)."""


def require(*modules: str) -> None:
    """Check that modules are installed.

    Raises:
        Unavailable: with the names of those that are not.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None and name not in sys.modules]
    if missing:
        raise Unavailable(f"needs {' and '.join(missing)}")


def settle(model: torch.nn.Module, runtime: Runtime) -> torch.nn.Module:
    """A model in evaluation mode on its device, compiled if asked for.

    Raises:
        Unavailable: if it has no presets to compile with.
    """
    model = model.eval().to(runtime.device, getattr(torch, runtime.dtype))
    if runtime.compiled is None:
        return model
    if type(model).compile is torch.nn.Module.compile:
        raise Unavailable("has no compile presets")
    model.compile(runtime.compiled)
    return model
