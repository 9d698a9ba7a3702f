"""Graphs that compute in half precision, and take and give float32."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from .graph import Graph


class InHalfPrecision(nn.Module):
    """A graph's module whose weights are float16: maps come in as float32 and results go out as float32.

    Coordinates, labels and distances go in as they are: the network itself takes angles in float32.
    """

    def __init__(self, graph: Graph):
        super().__init__()
        self.inner = graph.module
        self.are_maps = [value.is_map for value in graph.inputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = (value.half() if is_map else value for value, is_map in zip(inputs, self.are_maps, strict=True))
        outputs = self.inner(*given)
        results = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(result.float() for result in results)


def in_half_precision(graph: Graph) -> Graph:
    """The graph of a model that was brought to float16, with the same inputs and outputs."""
    return replace(graph, module=InHalfPrecision(graph), is_variadic=True)
