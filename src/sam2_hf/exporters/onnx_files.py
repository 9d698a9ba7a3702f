"""ONNX files: recording, checking, and weights of eight bits. Needs the extra `export`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .graph import Graph, export_program

OPSET = 18


def write_onnx(graph: Graph, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a graph as an ONNX file, with all weights in it, and check it.

    Args:
        graph: what to record.
        path: the file to write.
        metadata: texts that go into the file.

    Raises:
        ImportError: without onnx and onnxscript.
        onnx.checker.ValidationError: if the file is not valid; it is a defect of the exporter then.
    """
    onnx = import_onnx()
    with _quiet("torch.onnx"):
        program = torch.onnx.export(
            export_program(graph),
            (),
            input_names=[value.name for value in graph.inputs],
            output_names=[value.name for value in graph.outputs],
            dynamic_shapes=graph.varying_axes(),
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
    assert program is not None, "dynamo exports give a program"
    _remove_traces(program.model)
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path), full_check=True)


def quantise(source: Path, target: Path) -> None:
    """Write a graph with weights of eight bits, by onnxruntime's dynamic quantiser.

    Linear layers alone are quantised, for they hold nearly all weights; convolutions stay as they are.

    Args:
        source: the float32 graph.
        target: the file to write.

    Raises:
        ImportError: without onnxruntime.
    """
    import_onnx()
    quantization = _import("onnxruntime.quantization")
    with _quiet(""):  # the root logger, on which it recommends what makes no difference here
        quantization.quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def import_onnx() -> Any:
    """Import onnx, and see that onnxscript is there, without which torch cannot write it.

    Raises:
        ImportError: if one is missing; it says how to install them.
    """
    _import("onnxscript")
    return _import("onnx")


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"exporting to ONNX needs {name.partition('.')[0]}: pip install 'sam2-hf[export]'") from error


def _remove_traces(model: Any) -> None:
    """Remove what the recorder notes of the machine and of the source at every node."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without notices of the recorder or the quantiser about themselves and about libraries that are not needed."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", "# The axis name", category=UserWarning)  # named as they are twice
            yield
    finally:
        logger.setLevel(level)
