"""What computes for a command: models in torch, or graphs that are exported once and run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .arguments import prepare_process

if TYPE_CHECKING:
    from ..predictors.segmenter import Segmenter
    from ..predictors.tracker import Tracker

ENGINES = ("torch", "onnx")
_GRAPH_DTYPES = ("fp32", "fp16", "int8")


def prepare_engine(engine: str, loading: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """Check what a command is to compute with, and set up the process. Nothing is loaded yet.

    Args:
        engine: one of `ENGINES`.
        loading: arguments of `Segmenter` and `Tracker`.
        quiet: whether neither progress nor notices are shown.

    Returns:
        The arguments with `engine` and `quiet`, as `load_segmenter` and `load_tracker` take them.

    Raises:
        typer.BadParameter: an unknown engine, or a device or dtype that it does not have.
    """
    if engine not in ENGINES:
        raise typer.BadParameter(f"expected one of {', '.join(ENGINES)}, got {engine!r}", param_hint="--engine")
    if engine == "onnx":
        if loading["device"] not in (None, "cpu"):
            message = f"the engine onnx computes on the CPU, got {loading['device']!r}"
            raise typer.BadParameter(message, param_hint="--device")
        if loading["dtype"] not in (None, *_GRAPH_DTYPES):
            message = f"of the engine onnx it is one of {', '.join(_GRAPH_DTYPES)}, got {loading['dtype']!r}"
            raise typer.BadParameter(message, param_hint="--dtype")
    else:
        prepare_process(quiet)
    return {**loading, "engine": engine, "quiet": quiet}


def load_segmenter(loading: dict[str, Any]) -> Segmenter:
    """Load what segments images.

    Args:
        loading: from `prepare_engine`.

    Raises:
        ValueError, OSError, ImportError: naming what is wrong.
    """
    if loading["engine"] == "onnx":
        from ..runtime import Segmenter as GraphSegmenter

        return GraphSegmenter(_graphs(loading, video=False), dtype=loading["dtype"] or "fp32")
    from ..predictors.segmenter import Segmenter

    return Segmenter(**_of_model(loading))


def load_tracker(loading: dict[str, Any]) -> Tracker:
    """Load what tracks through clips.

    Args:
        loading: from `prepare_engine`, and `memory_policy`.

    Raises:
        ValueError, OSError, ImportError: naming what is wrong.
    """
    if loading["engine"] == "onnx":
        from ..runtime import Tracker as GraphTracker

        dtype, policy = loading["dtype"] or "fp32", loading["memory_policy"]
        return GraphTracker(_graphs(loading, video=True), dtype=dtype, memory_policy=policy)
    from ..predictors.tracker import Tracker

    return Tracker(**_of_model(loading))


def _of_model(loading: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in loading.items() if name not in ("engine", "quiet")}


def _graphs(loading: dict[str, Any], video: bool) -> Path:
    """The folder with the graphs: an exported one that is named, or that of the cache."""
    checkpoint, quiet = loading["checkpoint"], loading["quiet"]
    if checkpoint is not None and (Path(checkpoint) / "parameters.json").is_file():
        if loading["image_size"] is not None:
            raise ValueError(f"image_size is fixed in the exported graphs of {checkpoint}: leave out --image-size")
        return Path(checkpoint)
    from ..exporters.cache import cached_export
    from ..hub.bundled import DEFAULT_NOTICE

    if checkpoint is None and not quiet:
        typer.echo(DEFAULT_NOTICE, err=True)

    def before_export() -> None:
        prepare_process(quiet)
        if not quiet:
            typer.echo("exporting graphs for onnxruntime, once for each checkpoint", err=True)

    return cached_export(
        checkpoint,
        loading["dtype"] or "fp32",
        video=video,
        image_size=loading["image_size"],
        before_export=before_export,
    )
