"""Graphs that compute in half precision, and take and give float32."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..network.prompt_encoder import PositionalEmbedding
from .graph import Graph

if TYPE_CHECKING:
    from ..network.promptable_network import Sam2PromptableNetwork


def half_copy(model: Sam2PromptableNetwork) -> Sam2PromptableNetwork:
    """A copy of a model in float32 whose weights are float16, except the matrices that encode positions.

    A matrix is multiplied by 2 pi and by coordinates and makes angles: rounded to float16 it moves prompts, and masks
    more than the rounding of all other weights does. It has C numbers.
    """
    half = copy.deepcopy(model).half()
    for ours, given in zip(half.modules(), model.modules(), strict=True):
        if isinstance(ours, PositionalEmbedding):
            ours.positional_embedding = given.get_buffer("positional_embedding").clone()
            ours.register_forward_hook(_halve)
    return half


def _halve(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The features as the rest of the network reads them."""
    return output.half()


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
