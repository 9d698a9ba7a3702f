"""A folder with exported graphs: what `parameters.json` says, checked, and where the graphs lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..inputs.resizing import BILINEAR
from ..network.features import StoredShapes
from ..sizes import Size, read_size

PARAMETERS_FILE = "parameters.json"
FORMAT, FORMAT_VERSION = "sam2_hf.export", 1


class NamedFields(SimpleNamespace):
    """Fields of the configuration. One that is missing is an error that says where."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the video.config of {PARAMETERS_FILE} has no field {name!r}: export the checkpoint anew")


class ExportedFolder:
    """What a runtime needs to know of an exported checkpoint. No graph is read here.

    Args:
        folder: written by `sam2_hf.export` in the names of transformers.js.

    Raises:
        FileNotFoundError: there is no such folder, or no `parameters.json` in it.
        ValueError: the file is damaged, of another version, or names files elsewhere.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.path = Path(folder)
        path = self.path / PARAMETERS_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"folder must be one that sam2_hf.export wrote, but {os.fspath(folder)!r} has no {PARAMETERS_FILE}"
            )
        try:
            self._read(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} does not describe exported graphs: {error!r}") from error

    def graph(self, name: str, dtype: str) -> Path:
        """The file of a graph.

        Args:
            name: such as "vision_encoder".
            dtype: "fp32", "fp16" or "int8".

        Raises:
            ValueError: the folder has no such graph.
        """
        if dtype not in self.files:
            raise ValueError(f"dtype must be one of {', '.join(self.files)}, which {self.path} has, got {dtype!r}")
        if name not in self.files[dtype]:
            raise ValueError(f"{self.path} has no graph {name!r}; it has {', '.join(self.files[dtype])}")
        return self.path / self.files[dtype][name]

    @property
    def is_video(self) -> bool:
        """Whether the graphs can track."""
        return self.config is not None

    def _read(self, stored: dict[str, Any]) -> None:
        if (stored["format"], stored["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(
                f"its format is {stored['format']!r} {stored['format_version']!r}, expected {FORMAT!r} {FORMAT_VERSION}"
            )
        if stored.get("graph_format", "onnx") != "onnx":
            raise ValueError(f"its graphs are of format {stored['graph_format']!r}, and onnxruntime runs 'onnx'")
        self.files = {dtype: dict(graphs) for dtype, graphs in stored["files"].items()}
        for name in (name for graphs in self.files.values() for name in graphs.values()):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"it names a graph outside its folder: {name!r}")
        self.image_size: Size = read_size(stored["image_size"], "image_size")
        self.mean = tuple(float(value) for value in stored["image_mean"])
        self.std = tuple(float(value) for value in stored["image_std"])
        self.rescale_factor = float(stored["rescale_factor"])
        self.resample = int(stored.get("resample", BILINEAR))
        self.mask_threshold = float(stored["mask_threshold"])
        self.no_memory_embedding = np.asarray(stored["no_memory_embedding"], np.float32).reshape(1, -1, 1, 1)
        #: Settings of mask generation that suit the checkpoint, where they are not the defaults.
        self.thresholds = {name: float(value) for name, value in stored.get("mask_generation", {}).items()}
        self.config: Any = None
        if stored["model_type"] == "sam2_video":
            # Fields that the whole model has are those of its configuration as well.
            self.config = NamedFields(**{"image_size": self.image_size, **stored["video"]["config"]})
            embedding_size = read_size(stored["embedding_size"], "embedding_size")
            self.shapes = StoredShapes(
                read_size(stored["mask_size"], "mask_size"),
                (int(stored["memory_size"]), *embedding_size),
                (int(stored["hidden_size"]),),
            )
