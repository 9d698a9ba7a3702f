"""What can be asked of an export: formats, dtypes, names, and which file a graph goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from .catalogue import graphs_of
from .graph import Graph
from .samexporter_graphs import samexporter_graphs
from .web_page import GRAPHS

if TYPE_CHECKING:
    from ..network.promptable_network import Sam2PromptableNetwork

Format = Literal["onnx", "torch-export", "openvino"]
Dtype = Literal["fp32", "fp16", "int8"]
Names = Literal["transformers.js", "samexporter"]

FORMATS: Mapping[str, tuple[str, str]] = {
    "onnx": ("onnx", ".onnx"),
    "torch-export": ("torch_export", ".pt2"),
    "openvino": ("openvino", ".xml"),
}
"""The folder and the suffix of each format's files."""
DTYPES: Mapping[str, str] = {"fp32": "", "fp16": "_fp16", "int8": "_int8"}
"""What the names of files end in, as transformers.js has it."""
NAMES = ("transformers.js", "samexporter")


@dataclass(frozen=True)
class ExportOptions:
    """What is to be written.

    Attributes:
        format: of the files.
        dtypes: of the weights, each in files of its own.
        names: whose names inputs and outputs have.
        graphs: which graphs are written; None for all.
        fixed_memories: length of the fixed-length form of memory attention; None for the configuration's.
        fixed_pointers: its pointers; None for the configuration's.

    Raises:
        ValueError: for a value that is not known, and for "int8" with "torch-export".
    """

    format: Format = "onnx"
    dtypes: tuple[Dtype, ...] = ("fp32",)
    names: Names = "transformers.js"
    graphs: tuple[str, ...] | None = None
    fixed_memories: int | None = None
    fixed_pointers: int | None = None

    def __post_init__(self) -> None:
        _require_known("format", (self.format,), FORMATS)
        _require_known("dtype", self.dtypes, DTYPES)
        _require_known("names", (self.names,), NAMES)
        if not self.dtypes:
            raise ValueError(f"dtype must name one of {', '.join(DTYPES)} at least, got none")
        if self.format == "torch-export" and "int8" in self.dtypes:
            raise ValueError("dtype 'int8' is made by onnxruntime: it needs format 'onnx' or 'openvino'")

    def check_web(self) -> None:
        """Check that a page can be written beside the graphs.

        Raises:
            ValueError: for a format, names or graphs that the page does not read.
        """
        if self.format != "onnx" or self.names != "transformers.js":
            raise ValueError('web needs format "onnx" and names "transformers.js", which are what the page reads')
        missing = [name for name in GRAPHS if self.graphs is not None and name not in self.graphs]
        if missing:
            raise ValueError(f"web needs the graphs {', '.join(GRAPHS)}; without {', '.join(missing)} there is no page")

    def graphs_of(self, model: Sam2PromptableNetwork) -> list[Graph]:
        """The graphs of a model that are asked for.

        Raises:
            ValueError: for a graph that there is not.
        """
        if self.names == "samexporter":
            listed = samexporter_graphs(model)
        else:
            listed = graphs_of(model, self.fixed_memories, self.fixed_pointers)
        if self.graphs is None:
            return listed
        _require_known("graphs", self.graphs, [graph.name for graph in listed])
        return [graph for graph in listed if graph.name in self.graphs]

    def file_of(self, graph: str, dtype: str, title: str) -> PurePosixPath:
        """Where a graph goes, relative to the folder."""
        folder, suffix = FORMATS[self.format]
        if self.names == "samexporter":
            return PurePosixPath(f"{title}.{graph}{DTYPES[dtype]}{suffix}")
        return PurePosixPath(folder) / f"{graph}{DTYPES[dtype]}{suffix}"


def _require_known(name: str, values: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> None:
    unknown = [value for value in values if value not in known]
    if unknown:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {', '.join(map(repr, unknown))}")
