"""A checkpoint as a folder of graphs: files, parameters, errors, and ONNX files against the network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_close_in_scale
from test_graphs import OTHER_SIZES, plain_outputs, sizes_for
from tiny import tiny_image_model, tiny_video_model

from sam2_hf import export
from sam2_hf.exporters.catalogue import graphs_of
from sam2_hf.exporters.graph import Graph
from sam2_hf.exporters.half_precision import half_copy, in_half_precision
from sam2_hf.exporters.options import ExportOptions
from sam2_hf.exporters.samexporter_graphs import samexporter_graphs

ONNX_REASON = "ONNX files need the extra export"
SAME = 1e-4  # of the largest value: kernels of another library, in float32
HALF = 2e-2  # or three times what float16 costs in torch: masks given as random prompts amplify any rounding
CHEAP = "memory_encoder"


def run_onnx(path: Path, graph: Graph, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    runtime = pytest.importorskip("onnxruntime", reason=ONNX_REASON)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    named = {value.name: tensor.numpy() for value, tensor in zip(graph.inputs, inputs, strict=True)}
    assert [each.name for each in session.get_outputs()] == [value.name for value in graph.outputs]
    return [torch.from_numpy(np.asarray(each)) for each in session.run(None, named)]


def assert_runs_with_other_lengths(path: Path, graph: Graph, tolerance: float) -> None:
    for seed, sizes in enumerate(OTHER_SIZES, start=1):
        inputs = graph.example(seed, **sizes_for(graph, sizes))
        for found, wanted in zip(run_onnx(path, graph, inputs), plain_outputs(graph, inputs), strict=True):
            assert_close_in_scale(found, wanted, tolerance)


@pytest.fixture(scope="module")
def model():
    return tiny_video_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """One cheap graph, in float32 and in eight bits."""
    pytest.importorskip("onnxscript", reason=ONNX_REASON)
    target = tmp_path_factory.mktemp("exported") / "graphs"
    return export(model, target, dtype=("fp32", "int8"), graphs=[CHEAP])


def test_an_onnx_file_gives_what_the_network_gives_at_any_length(folder, model):
    graph = {graph.name: graph for graph in graphs_of(model)}[CHEAP]
    assert_runs_with_other_lengths(folder.files["fp32"][CHEAP], graph, SAME)


def test_eight_bits_are_smaller_and_close(folder, model):
    graph = {graph.name: graph for graph in graphs_of(model)}[CHEAP]
    inputs = graph.example(seed=5)
    found = run_onnx(folder.files["int8"][CHEAP], graph, inputs)[0]
    wanted = plain_outputs(graph, inputs)[0]
    assert 0 < (found - wanted).abs().max() < 0.1 * wanted.abs().max()


def test_the_folder_has_all_that_a_program_reads(folder, model):
    names = {path.name for path in folder.folder.iterdir()}
    assert names == {"LICENSE", "README.md", "config.json", "onnx", "parameters.json", "preprocessor_config.json"}
    parameters = json.loads((folder.folder / "parameters.json").read_text())
    assert parameters["files"]["int8"] == {CHEAP: f"onnx/{CHEAP}_int8.onnx"}
    assert parameters["image_size"] == [128, 128] and parameters["mask_size"] == [32, 32]
    assert parameters["graphs"][CHEAP]["inputs"][3] == {"name": "binarize", "dtype": "bool", "shape": ["objects"]}
    video = parameters["video"]
    assert video["config"]["num_maskmem"] == 7 and video["config"]["memory_policy"] == "sam2"
    assert (video["fixed_memories"], video["fixed_pointers"]) == (7, 16)
    torch.testing.assert_close(torch.tensor(video["no_object_pointer"]), model.no_object_pointer[0].detach())


def test_nothing_of_the_machine_is_in_a_file(folder):
    onnx = pytest.importorskip("onnx", reason=ONNX_REASON)
    text = str(onnx.load(folder.files["fp32"][CHEAP], load_external_data=False).graph.node)
    assert str(Path.home()) not in text and ".py" not in text


def test_a_folder_that_is_there_is_kept(folder, model):
    before = sorted(folder.folder.rglob("*"))
    with pytest.raises(FileExistsError, match="overwrite"):
        export(model, folder.folder, graphs=[CHEAP])
    with pytest.raises(ValueError, match="graphs must be one of"):
        export(model, folder.folder, graphs=["none such"], overwrite=True)
    assert sorted(folder.folder.rglob("*")) == before
    assert [path.name for path in folder.folder.parent.iterdir()] == [folder.folder.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "caffe"}, "format must be one of onnx, torch-export, openvino, got 'caffe'"),
        ({"dtypes": ("fp8",)}, "dtype must be one of fp32, fp16, int8, got 'fp8'"),
        ({"dtypes": ()}, "dtype must name one"),
        ({"names": "mine"}, "names must be one of"),
        ({"format": "torch-export", "dtypes": ("int8",)}, "onnxruntime"),
    ],
)
def test_unknown_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ExportOptions(**options)


def test_a_model_of_another_package_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got Linear"):
        export(torch.nn.Linear(1, 1), tmp_path / "graphs", format="torch-export")


def test_files_of_torch_export_are_loaded_without_the_model(model, tmp_path):
    exported = export(model, tmp_path / "graphs", format="torch-export", graphs=["pointer_time_encoding"])
    program = torch.export.load(exported.files["fp32"]["pointer_time_encoding"])
    distances = torch.tensor([[0.1, 0.4, 1.0]])
    assert_close_in_scale(program.module()(distances), model.time_encoding(distances), SAME)


def test_half_precision_keeps_where_a_prompt_is(model):
    """Angles of positions are as in float32, so that features differ by the rounding of the result alone."""
    half, coordinates = half_copy(model), torch.rand(50, 2)
    features = half.prompt_encoder.shared_embedding(coordinates)
    assert features.dtype == torch.float16 and half.mask_decoder.mask_tokens.weight.dtype == torch.float16
    assert (features - model.prompt_encoder.shared_embedding(coordinates)).abs().max() <= 2**-11
    assert half.get_image_wide_positional_embeddings().dtype == torch.float16
    assert model.no_memory_embedding.dtype == torch.float32


@pytest.mark.slow
def test_every_onnx_file_gives_what_the_network_gives_at_any_length(model, tmp_path):
    pytest.importorskip("onnxscript", reason=ONNX_REASON)
    exported = export(model, tmp_path / "graphs")
    for graph in graphs_of(model):
        assert_runs_with_other_lengths(exported.files["fp32"][graph.name], graph, SAME)


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.slow
def test_every_onnx_file_in_half_precision_is_as_near_as_torch_is(model, tmp_path):
    pytest.importorskip("onnxscript", reason=ONNX_REASON)
    exported = export(model, tmp_path / "graphs", dtype="fp16")
    for graph, half in zip(graphs_of(model), graphs_of(half_copy(model)), strict=True):
        for seed, sizes in enumerate(OTHER_SIZES, start=1):
            inputs = graph.example(seed, **sizes_for(graph, sizes))
            found = run_onnx(exported.files["fp16"][graph.name], graph, inputs)
            wanted, torchs = plain_outputs(graph, inputs), plain_outputs(in_half_precision(half), inputs)
            # Of all outputs together: which one a rounding of the shared transformer moves most is chance.
            limit = max(HALF, 3 * max(map(distance, torchs, wanted)))
            assert max(map(distance, found, wanted)) < limit, (graph.name, seed)


@pytest.mark.slow
def test_files_of_samexporter_give_what_the_network_gives(tmp_path):
    pytest.importorskip("onnxscript", reason=ONNX_REASON)
    model = tiny_image_model()
    exported = export(model, tmp_path / "graphs", names="samexporter")
    for graph in samexporter_graphs(model):
        assert_runs_with_other_lengths(exported.files["fp32"][graph.name], graph, SAME)
    assert "segment_anything_2" in (exported.folder / "x-anylabeling.yaml").read_text()


@pytest.mark.slow
def test_memory_attention_without_a_pointer(model, tmp_path):
    """A frame may read memories and no pointer: if only frames that are still to come condition it."""
    pytest.importorskip("onnxscript", reason=ONNX_REASON)
    exported = export(model, tmp_path / "graphs", graphs=["memory_attention"])
    graph = {graph.name: graph for graph in graphs_of(model)}["memory_attention"]
    inputs = graph.example(seed=4, pointers=0)
    found = run_onnx(exported.files["fp32"]["memory_attention"], graph, inputs)[0]
    assert_close_in_scale(found, plain_outputs(graph, inputs)[0], SAME)
