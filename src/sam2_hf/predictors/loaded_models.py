"""Checkpoints, loaded once and kept: a model and its processor for each checkpoint, device, dtype and input size."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, NamedTuple

import torch

from ..hub.bundled import DEFAULT_NOTICE, bundled_checkpoint, search_thresholds
from ..inputs.lru_cache import LruCache
from ..modeling_sam2 import Sam2Model
from ..modeling_sam2_video import Sam2VideoModel
from ..processing_sam2 import Sam2Processor
from ..processing_sam2_video import Sam2VideoProcessor
from ..sizes import Size, read_size

logger = logging.getLogger(__name__)

_MOST_MODELS = 4  # that are kept loaded


class LoadedModel(NamedTuple):
    """A model in evaluation mode and its processor."""

    checkpoint: str
    model: Any
    processor: Any

    @property
    def is_bundled(self) -> bool:
        """Whether it is the checkpoint that comes with the package."""
        return self.checkpoint == bundled_checkpoint()

    @property
    def thresholds(self) -> dict[str, float]:
        """Settings of mask generation that suit the checkpoint, see `search_thresholds`."""
        return search_thresholds(self.checkpoint)


_models: LruCache[tuple[Any, ...], LoadedModel] = LruCache(_MOST_MODELS)
_lock = threading.Lock()
_noticed = False


def load_model(
    checkpoint: str | os.PathLike[str] | None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
    *,
    video: bool,
) -> LoadedModel:
    """Load a checkpoint, or take it where it is loaded already.

    Args:
        checkpoint: a folder or a name on the Hub; None for the bundled one, which is said once in one line.
        device: where it runs; None for a GPU where there is one, else the CPU.
        dtype: of its weights; None for that of the checkpoint.
        image_size: of its input in pixels, int or (height, width); None for that of the checkpoint.
        video: whether it is to track, or to segment images.

    Returns:
        The model in evaluation mode, and its processor.

    Raises:
        OSError, ValueError: as `from_pretrained`; a device that is not there.
    """
    global _noticed
    name = bundled_checkpoint() if checkpoint is None else os.fspath(checkpoint)
    where = _read_device(device)
    kind = dtype if isinstance(dtype, torch.dtype) or dtype is None else getattr(torch, dtype, None)
    if dtype is not None and not isinstance(kind, torch.dtype):
        raise ValueError(f"dtype must be a torch dtype or its name, such as 'bfloat16', got {dtype!r}")
    size = None if image_size is None else read_size(image_size, "image_size")
    key = (video, name, str(where), str(kind), size)
    with _lock:
        if checkpoint is None and not _noticed:
            _noticed = True
            logger.warning(DEFAULT_NOTICE)
        loaded = _models.get(key)
        if loaded is None:
            loaded = _load(name, where, kind, size, video)
            _models.put(key, loaded)
    return loaded


def release_models() -> None:
    """Forget all models that are kept loaded; memory is free when the last result that holds one is gone."""
    _models.clear()


def best_device() -> str:
    """Name the device that a model runs on unless told otherwise: a GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _read_device(device: str | torch.device | None) -> torch.device:
    try:
        where = torch.device(device or best_device())
    except RuntimeError as error:
        raise ValueError(f"device must be a torch device such as 'cpu' or 'cuda:0', got {device!r}") from error
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, and torch finds no CUDA device here")
    return where


def _load(name: str, device: torch.device, dtype: torch.dtype | None, size: Size | None, video: bool) -> LoadedModel:
    options: dict[str, Any] = {} if size is None else {"image_size": size}
    weights: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    kinds: tuple[Any, Any] = (Sam2VideoModel, Sam2VideoProcessor) if video else (Sam2Model, Sam2Processor)
    model = kinds[0].from_pretrained(name, **options, **weights)
    processor = kinds[1].from_pretrained(name, **options)
    return LoadedModel(name, model.to(device).eval(), processor)
