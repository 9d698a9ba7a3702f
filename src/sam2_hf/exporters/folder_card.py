"""The card (`README.md`) and the licence of a folder of graphs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from string import Template

_CARD = Template(
    """\
---
license: apache-2.0
pipeline_tag: mask-generation
library_name: $library
tags:
- sam2
- segmentation
- $format
---

# $title

$title, a checkpoint of SAM 2 ([arXiv 2408.00714](https://arxiv.org/abs/2408.00714)), exported by `sam2_hf` $version as
$format graphs ($dtypes) with the names of $names. The weights are those of the checkpoint, under its licence.

| graph | takes | gives |
|---|---|---|
$rows

Lengths with a name vary. Inputs and outputs are float32, int64 or bool in every dtype. `parameters.json` has the size
and the normalisation of images, the constants of tracking and the table above as JSON.
"""
)
_LIBRARY = {"onnx": "transformers.js", "openvino": "openvino", "torch-export": "pytorch"}


def folder_card(title: str, version: str, format: str, dtypes: Iterable[str], names: str, graphs: dict) -> str:
    """Make the card of a folder of graphs.

    Args:
        title: the name of the checkpoint.
        version: of this package.
        format: of the files.
        dtypes: of the weights.
        names: whose names inputs and outputs have.
        graphs: inputs and outputs by name of graph, as `Graph.described` gives them.

    Returns:
        The text of `README.md`.
    """
    rows = "\n".join(
        f"| `{name}` | {_values(graph['inputs'])} | {_values(graph['outputs'])} |" for name, graph in graphs.items()
    )
    return _CARD.substitute(
        title=title,
        version=version,
        format=format,
        dtypes=", ".join(dtypes),
        names=names,
        rows=rows,
        library=_LIBRARY[format],
    )


def _values(values: Iterable[dict]) -> str:
    return "<br>".join(f"`{value['name']}` ({', '.join(map(str, value['shape']))})" for value in values)


def licence_text(checkpoint: Path) -> str:
    """Find the licence of the weights: the checkpoint's own file, or else the Apache licence, as of this package.

    Args:
        checkpoint: the folder of the checkpoint, which need not exist.
    """
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        if (checkpoint / name).is_file():
            return (checkpoint / name).read_text(encoding="utf-8")
    in_source = Path(__file__).parents[3] / "LICENSE"
    if in_source.is_file():
        return in_source.read_text(encoding="utf-8")
    try:
        text = importlib.metadata.distribution("sam2-hf").read_text("licenses/LICENSE")
    except importlib.metadata.PackageNotFoundError:
        text = None
    return text or "Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
