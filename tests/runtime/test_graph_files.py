"""Files of graphs that are missing or damaged, and settings of onnxruntime that there are not, are named."""

from __future__ import annotations

import json

import pytest
from tiny import tiny_image_model
from torch_graphs import write_parameters

from sam2_hf.runtime.exported_folder import ExportedFolder
from sam2_hf.runtime.graphs import Graphs


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra runtime")
    write_parameters(tiny_image_model(), tmp_path)
    (tmp_path / "onnx").mkdir()
    return tmp_path


def test_a_graph_whose_file_is_gone_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"has lost its graph onnx/vision_encoder\.onnx"):
        Graphs(ExportedFolder(folder)).run("vision_encoder", {}, ["vision_features"])


@pytest.mark.parametrize("content", [b"", b"no graph at all", bytes(range(256)) * 4], ids=["empty", "text", "bytes"])
def test_a_damaged_file_is_named(folder, content):
    (folder / "onnx/vision_encoder.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"vision_encoder\.onnx cannot be read as a graph"):
        Graphs(ExportedFolder(folder)).run("vision_encoder", {}, ["vision_features"])


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two"])
def test_threads_that_mean_nothing_are_refused(folder, threads):
    with pytest.raises(ValueError, match=f"threads must be None or a whole number of at least 1, got {threads!r}"):
        Graphs(ExportedFolder(folder), threads=threads)


def test_an_unknown_provider_is_refused_and_does_not_become_the_cpu(folder):
    with pytest.raises(ValueError, match=r"providers must be some of .*CPUExecutionProvider.* got \['TPU'\]"):
        Graphs(ExportedFolder(folder), providers=["TPU"])


def test_graphs_of_another_format_are_refused(folder):
    path = folder / "parameters.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "graph_format": "openvino"}))
    with pytest.raises(ValueError, match="graphs are of format 'openvino', and onnxruntime runs 'onnx'"):
        ExportedFolder(folder)
