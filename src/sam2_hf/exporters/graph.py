"""A graph before it is exported: a module, and the names, axes and dtypes of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

EXAMPLE_SIZES: Mapping[str, int] = {
    "images": 2,
    "prompts": 3,
    "point_rows": 3,
    "boxes": 3,
    "points": 4,
    "objects": 2,
    "memories": 3,
    "pointers": 5,
}
"""Lengths of the axes that vary, while a graph is recorded: none is 0 or 1, which would be taken as fixed."""


@dataclass(frozen=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: its name in the graph.
        axes: its axes, fixed lengths as numbers and those that vary by name.
        dtype: its dtype.
        below: for integers, the least number that is too large.
        is_map: whether it is computed with in the model's dtype, whatever the graph takes.
    """

    name: str
    axes: tuple[int | str, ...]
    dtype: torch.dtype = torch.float32
    below: int = 2
    is_map: bool = False

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for lengths of the axes that vary."""
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.axes)

    def example(self, sizes: Mapping[str, int], generator: torch.Generator) -> Tensor:
        """Random values: normal, or integers in range, or mostly True."""
        shape = self.shape(sizes)
        if self.dtype == torch.int64:
            return torch.randint(self.below, shape, generator=generator)
        if self.dtype == torch.bool:
            return torch.rand(shape, generator=generator) < 0.8
        return torch.randn(shape, generator=generator, dtype=self.dtype)

    def described(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"name": self.name, "dtype": str(self.dtype).removeprefix("torch."), "shape": list(self.axes)}


@dataclass(frozen=True)
class Graph:
    """A module that takes and gives tensors, to be recorded.

    Attributes:
        name: the name of its file, without a suffix.
        module: takes `inputs` in their order, and gives `outputs` in theirs.
        inputs: what goes in.
        outputs: what comes out.
        is_variadic: whether the module is written for any number of inputs.
    """

    name: str
    module: nn.Module
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    is_variadic: bool = False

    def example(self, seed: int = 0, **sizes: int) -> tuple[Tensor, ...]:
        """Random inputs.

        Args:
            seed: of the random numbers.
            sizes: lengths of axes that vary, by name; `EXAMPLE_SIZES` has the others.
        """
        generator = torch.Generator().manual_seed(seed)
        lengths = {**EXAMPLE_SIZES, **sizes}
        return tuple(value.example(lengths, generator) for value in self.inputs)

    def varying_axes(self) -> tuple[Any, ...]:
        """The axes that vary, of every input, by name, as `torch.onnx.export` wants them."""
        return self._of_arguments({})

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """The axes that vary, of every input, as `torch.export` wants them."""
        names = sorted({axis for value in self.inputs for axis in value.axes if isinstance(axis, str)})
        return self._of_arguments({name: Dim(name) for name in names})

    def _of_arguments(self, dims: Mapping[str, Any]) -> tuple[Any, ...]:
        """For every argument of the module its axes that vary, by the names of axes or by what stands for them."""
        axes = tuple(
            {index: dims.get(axis, axis) for index, axis in enumerate(value.axes) if isinstance(axis, str)}
            for value in self.inputs
        )
        return (axes,) if self.is_variadic else axes

    def described(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "inputs": [value.described() for value in self.inputs],
            "outputs": [value.described() for value in self.outputs],
        }


def export_program(graph: Graph, strict: bool = False) -> torch.export.ExportedProgram:
    """Record a graph with `torch.export`, all axes with a name of variable length.

    Args:
        graph: what to record.
        strict: whether Python is analysed (TorchDynamo) and not only run.
    """
    with torch.no_grad():
        return torch.export.export(
            graph.module.eval(), graph.example(), dynamic_shapes=graph.dynamic_shapes(), strict=strict
        )
