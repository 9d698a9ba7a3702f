"""Files of `torch.export`, which PyTorch loads without the code of the model."""

from __future__ import annotations

from pathlib import Path

import torch

from .graph import Graph, export_program


def write_program(graph: Graph, path: Path) -> None:
    """Write a graph as a file that `torch.export.load` reads.

    Args:
        graph: what to record.
        path: the file to write, which ends in `.pt2`.
    """
    torch.export.save(export_program(graph), path)
