"""A published architecture at its full size, with random weights: onnxruntime against torch."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from test_folder import ONNX_REASON, run_onnx
from test_graphs import plain_outputs

from benchmarks.random_model import random_model, soften_attention
from sam2_hf import export
from sam2_hf.configuration_sam2 import Sam2VideoConfig
from sam2_hf.exporters.catalogue import graphs_of
from sam2_hf.modeling_sam2_video import Sam2VideoModel

pytestmark = pytest.mark.slow

GRAPHS = (
    "vision_encoder",
    "prompt_encoder_mask_decoder",
    "memory_encoder",
    "memory_attention",
    "tracked_mask_decoder",
)
CLOSE = 1e-3  # of the largest logit


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Runs a graph by both libraries: the model's graphs by name, and their files."""
    pytest.importorskip("onnxscript", reason=ONNX_REASON)
    model = random_model(Sam2VideoConfig.from_preset("sam2.1-hiera-tiny"), model_class=Sam2VideoModel)
    soften_attention(model)  # otherwise masks enlarge the rounding of features ten thousand times
    files = export(model, tmp_path_factory.mktemp("full") / "graphs", graphs=GRAPHS).files["fp32"]
    return {graph.name: (graph, files[graph.name]) for graph in graphs_of(model) if graph.name in GRAPHS}


def test_a_click_and_a_tracked_frame_at_1024_pixels(exported):
    """Each side computes all of it from pixels with its own results: features, a click, a memory, the next frame."""
    ours = click_and_track(lambda name, inputs: run_onnx(exported[name][1], exported[name][0], inputs), exported)
    wanted = click_and_track(lambda name, inputs: list(plain_outputs(exported[name][0], inputs)), exported)
    for name, logits in wanted.items():
        assert logits.shape[-2:] == (256, 256) and logits.std() > 0.01 * logits.abs().max(), name
        assert_close_in_scale(ours[name], logits, CLOSE)


def click_and_track(run, exported) -> dict[str, torch.Tensor]:
    """The logits of a click on a first frame and of a second frame that remembers it."""

    def outputs(name: str, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        values = [value.name for value in exported[name][0].outputs]
        return dict(zip(values, run(name, inputs), strict=True))

    frames = torch.nn.functional.interpolate(
        torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), size=(1024, 1024), mode="bicubic"
    )
    first, second = (outputs("vision_encoder", frame[None]) for frame in frames)
    maps = [first[f"image_embeddings.{level}"] for level in range(3)]
    points, labels = torch.tensor([[[500.0, 375.0]]]), torch.ones(1, 1, dtype=torch.long)
    clicked = outputs("prompt_encoder_mask_decoder", points[None], labels[None], torch.zeros(1, 0, 4), *maps)
    started = outputs("tracked_mask_decoder", *maps[:2], maps[2], points, labels)
    memory = outputs(
        "memory_encoder",
        first["vision_features"],
        started["single_masks"],
        started["object_score_logits"],
        torch.zeros(1, dtype=torch.bool),
    )["memory_features"]
    conditioned = outputs(
        "memory_attention",
        second["vision_features"],
        torch.stack((memory, memory.flip(-1)), dim=1),
        torch.tensor([[6, 0]]),
        torch.ones(1, 2),
        started["object_pointers"][:, :2],
        torch.tensor([[0.1, 0.2]]),
    )["conditioned_features"]
    fine = (second["image_embeddings.0"], second["image_embeddings.1"])
    tracked = outputs("tracked_mask_decoder", *fine, conditioned, torch.zeros(1, 1, 2), -labels)
    return {"click": clicked["pred_masks"], "tracked": tracked["pred_masks"], "single": tracked["single_masks"]}
