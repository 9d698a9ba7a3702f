"""Exported graphs that are kept, so that a checkpoint is exported once. Finding them loads no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ..hub.bundled import bundled_checkpoint
from ..sizes import Size, read_size
from ..version import __version__

if TYPE_CHECKING:
    from .options import Dtype

IMAGE_GRAPHS = ("vision_encoder", "prompt_encoder_mask_decoder", "prompt_encoder_mask_decoder_with_masks")
"""The graphs that `runtime.Segmenter` runs."""
VIDEO_GRAPHS = (
    *("vision_encoder", "memory_attention", "tracked_mask_decoder", "tracked_mask_decoder_with_masks"),
    *("given_mask_decoder", "memory_encoder"),
)
"""The graphs that `runtime.Tracker` runs."""


def cache_folder() -> Path:
    """The folder that graphs are kept in: `SAM2_HF_CACHE`, or `sam2_hf` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SAM2_HF_CACHE") or Path(base) / "sam2_hf") / "graphs"


def cached_export(
    checkpoint: str | os.PathLike[str] | None = None,
    dtype: Dtype = "fp32",
    *,
    video: bool = False,
    image_size: int | Size | None = None,
    before_export: Callable[[], None] = lambda: None,
) -> Path:
    """Export a checkpoint, or take the graphs where that has been done.

    Graphs are made anew where files of the checkpoint have changed, and by another version of this package.

    Args:
        checkpoint: a folder, a name on the Hub, or an original `.pt` file; the bundled checkpoint by default.
        dtype: of the weights.
        video: whether to track, or to segment images.
        image_size: of the model's input in pixels; that of the checkpoint by default.
        before_export: called if there is something to export, before anything is loaded.

    Returns:
        The folder with the graphs.

    Raises:
        ValueError, ImportError, OSError: as `export`.
    """
    name = bundled_checkpoint() if checkpoint is None else os.fspath(checkpoint)
    size = None if image_size is None else read_size(image_size, "image_size")
    title = Path(name).stem if Path(name).is_file() else Path(name).name
    facts = (__version__, dtype, video, size, *_version_of(name))
    folder = cache_folder() / f"{title}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
    if (folder / "parameters.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "parameters.json").is_file():  # another process may have been faster
            graphs = VIDEO_GRAPHS if video else IMAGE_GRAPHS
            before_export()
            _export(name, folder, dtype=dtype, graphs=graphs, image_size=size, overwrite=True)
    return folder


def _export(checkpoint: str, folder: Path, **settings: Any) -> None:
    from .folder import export

    export(checkpoint, folder, **settings)


def _version_of(name: str) -> list[tuple[str, int, int]]:
    """What changes with a checkpoint: of its files the path, the length and the time of the last change."""
    source = Path(name).resolve()
    if source.is_file():
        paths = [source]
    elif source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.is_file())
    else:
        paths = _of_the_hub(name)
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def _of_the_hub(name: str) -> list[Path]:
    """The configuration of a name on the Hub, in a folder that is named after its revision."""
    from huggingface_hub import hf_hub_download

    try:
        return [Path(hf_hub_download(name, "config.json"))]
    except (OSError, ValueError):  # told better by whoever loads it
        return []
