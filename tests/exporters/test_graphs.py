"""Every graph recorded once, and run with other lengths: what turned out static fails here."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import tiny_image_model, tiny_video_model
from torch import Tensor

from sam2_hf.exporters.catalogue import graphs_of
from sam2_hf.exporters.graph import EXAMPLE_SIZES, Graph, export_program
from sam2_hf.exporters.samexporter_graphs import samexporter_graphs
from sam2_hf.fast.dispatch import plain_paths

SAME = 1e-5  # of the largest value, in float32: the same operations
OTHER_SIZES = (
    dict.fromkeys(EXAMPLE_SIZES, 1),
    {"images": 3, "prompts": 5, "point_rows": 5, "boxes": 0, "points": 2, "objects": 4, "memories": 2, "pointers": 7},
    {"images": 2, "prompts": 2, "point_rows": 1, "boxes": 2, "points": 0, "objects": 3, "memories": 6, "pointers": 3},
)
CHEAP = ("memory_encoder", "pointer_time_encoding")


def graphs() -> dict[str, Graph]:
    listed = [*graphs_of(tiny_video_model()), *samexporter_graphs(tiny_image_model())]
    return {graph.name: graph for graph in listed}


GRAPHS = graphs()
NAMES = [name if name in CHEAP else pytest.param(name, marks=pytest.mark.slow) for name in GRAPHS]


def sizes_for(graph: Graph, sizes: dict[str, int]) -> dict[str, int]:
    """Decoders other than the image's get no boxes, so that without points there is no prompt at all."""
    takes_boxes = any(value.name == "input_boxes" for value in graph.inputs)
    return sizes if sizes["points"] or takes_boxes else {**sizes, "points": 3}


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


@torch.no_grad()
def plain_outputs(graph: Graph, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with plain_paths():
        return as_tuple(graph.module(*inputs))


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_recorded_once_and_run_with_other_lengths(name, strict):
    graph = GRAPHS[name]
    program = export_program(graph, strict=strict).module()
    for seed, sizes in enumerate(OTHER_SIZES, start=1):
        sizes = sizes_for(graph, sizes)
        inputs = graph.example(seed, **sizes)
        expected = plain_outputs(graph, inputs)
        for found, wanted in zip(as_tuple(program(*inputs)), expected, strict=True):
            assert_close_in_scale(found, wanted, SAME)


@pytest.mark.parametrize("name", list(GRAPHS))
def test_outputs_have_the_axes_that_the_catalogue_names(name):
    graph = GRAPHS[name]
    for seed, sizes in enumerate(OTHER_SIZES, start=1):
        sizes = sizes_for(graph, sizes)
        outputs = plain_outputs(graph, graph.example(seed, **sizes))
        assert [tuple(each.shape) for each in outputs] == [value.shape(sizes) for value in graph.outputs]
        assert all(each.dtype == value.dtype for each, value in zip(outputs, graph.outputs, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", list(GRAPHS))
@torch.no_grad()
def test_traced_by_jit(name):
    """Sizes are those of the recording: a trace keeps what Python did with them."""
    graph = GRAPHS[name]
    traced = torch.jit.trace(graph.module, graph.example(), check_trace=False)
    inputs = graph.example(seed=1)
    for found, wanted in zip(as_tuple(traced(*inputs)), plain_outputs(graph, inputs), strict=True):
        assert_close_in_scale(found, wanted, SAME)


@torch.no_grad()
def test_padding_in_the_fixed_length_form_changes_nothing():
    """Three memories and five pointers, in front of rows that are not valid, are read as if there were no others."""
    loose, fixed = GRAPHS["memory_attention"], GRAPHS["memory_attention_fixed"]
    features, *given = loose.example(seed=2)
    wanted = plain_outputs(loose, (features, *given))[0]
    padded = dict(zip([value.name for value in fixed.inputs], fixed.example(seed=3), strict=True))
    padded["vision_features"] = features
    for value, tensor in zip(loose.inputs[1:], given, strict=True):
        padded[value.name][:, : tensor.shape[1]] = tensor
    for name, count in (("memory_mask", EXAMPLE_SIZES["memories"]), ("pointer_mask", EXAMPLE_SIZES["pointers"])):
        padded[name][:] = torch.arange(padded[name].shape[1]) < count
    assert_close_in_scale(plain_outputs(fixed, tuple(padded.values()))[0], wanted, SAME)


@torch.no_grad()
def test_the_image_decoder_gives_what_the_model_gives():
    """With boxes and points, without boxes, and with boxes alone, whose points have one row."""
    model = tiny_image_model()
    decoder = {graph.name: graph for graph in graphs_of(model)}["prompt_encoder_mask_decoder"]
    maps = model.get_image_embeddings(torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)))
    points, labels = torch.rand(1, 3, 2, 2) * 128, torch.ones(1, 3, 2, dtype=torch.long)
    boxes = torch.tensor([[[10.0, 12.0, 90.0, 100.0], [40.0, 5.0, 110.0, 60.0], [1.0, 2.0, 30.0, 40.0]]])
    none = torch.zeros(1, 0, 4)
    for given, prompts in (
        ((points, labels, boxes), {"input_points": points, "input_labels": labels, "input_boxes": boxes}),
        ((points, labels, none), {"input_points": points, "input_labels": labels}),
        ((points[:, :1, :0], labels[:, :, :0], boxes), {"input_boxes": boxes}),
    ):
        scores, masks, objects, single_score, single = plain_outputs(decoder, (*given, *maps))
        wanted = model(image_embeddings=maps, **prompts)
        for found, expected in ((scores, wanted.iou_scores), (masks, wanted.pred_masks)):
            assert_close_in_scale(found, expected, SAME)
        assert_close_in_scale(objects, wanted.object_score_logits, SAME)
        wanted = model(image_embeddings=maps, multimask_output=False, **prompts)
        assert_close_in_scale(single, wanted.pred_masks, SAME)
        assert_close_in_scale(single_score, wanted.iou_scores, SAME)
