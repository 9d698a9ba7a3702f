"""Programs of others click on our files: transformers.js, samexporter, X-AnyLabeling, transformers' own exporters.

Run with `-m peers`. transformers.js is looked for in the folder that SAM2_NODE_FOLDER names, where `npm install
--ignore-scripts @huggingface/transformers` was run; the others are packages of PyPI (samexporter, x-anylabeling,
opencv-python-headless, openvino).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from closeness import assert_close_in_scale
from tiny import tiny_image_model, tiny_video_model

from sam2_hf import Sam2Model, Sam2Processor, bundled_checkpoint, export
from sam2_hf.demo.world import World, draw_image
from sam2_hf.exporters.catalogue import graphs_of
from sam2_hf.fast.dispatch import plain_paths

pytestmark = pytest.mark.peers
NODE_FOLDER = os.environ.get("SAM2_NODE_FOLDER", "")
OBJECT = 1  # which object of the image is clicked on
ALIKE = 0.97  # IoU of masks: these programs resize the image each with a filter of its own
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}  # OpenVINO takes bfloat16 where the processor has it


@pytest.fixture(scope="module")
def world() -> World:
    return draw_image()


@pytest.fixture(scope="module")
def ours(world):
    """Our mask of a click and of a box."""
    model = Sam2Model.from_pretrained(bundled_checkpoint()).eval()
    processor = Sam2Processor.from_pretrained(bundled_checkpoint())
    masks = {}
    for name, prompts in {
        "click": {"input_points": [[[list(world.points[OBJECT])]]], "input_labels": [[[1]]]},
        "box": {"input_boxes": [[box(world)]]},
    }.items():
        inputs = processor(images=world.first, return_tensors="pt", **prompts)
        with torch.no_grad():
            outputs = model(**inputs)
        best = outputs.iou_scores[0, 0].argmax()
        masks[name] = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0][0, best].numpy()
    return masks


def box(world: World) -> list[int]:
    x, y = world.points[OBJECT]
    return [x - 65, y - 57, x + 65, y + 63]


@pytest.fixture(scope="module")
def for_transformers_js(tmp_path_factory):
    pytest.importorskip("onnxscript", reason="ONNX files need the extra export")
    names = ["vision_encoder", "prompt_encoder_mask_decoder"]
    return export(bundled_checkpoint(), tmp_path_factory.mktemp("js") / "graphs", graphs=names)


@pytest.fixture(scope="module")
def for_annotators(tmp_path_factory):
    pytest.importorskip("onnxscript", reason="ONNX files need the extra export")
    return export(bundled_checkpoint(), tmp_path_factory.mktemp("annotators") / "graphs", names="samexporter")


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_transformers_js_clicks_and_draws_boxes(for_transformers_js, world, ours, tmp_path):
    node = shutil.which("node")
    if node is None or not (Path(NODE_FOLDER) / "node_modules/@huggingface/transformers").is_dir():
        pytest.skip("needs node, and transformers.js in the folder that SAM2_NODE_FOLDER names")
    world.first.save(tmp_path / "image.png")
    numbers = map(str, (*world.points[OBJECT], *box(world)))
    script = Path(__file__).with_name("click.mjs")
    words = (node, script, NODE_FOLDER, for_transformers_js.folder, tmp_path / "image.png", *numbers)
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for name, found in json.loads(run.stdout).items():
        mask = np.array(found["mask"], bool).reshape(found["height"], found["width"])
        assert iou(mask, ours[name]) > ALIKE and found["object_score"] > 0


def readers() -> list[str]:
    return ["samexporter/sam2_onnx.py", "anylabeling/services/auto_labeling/__base__/sam2.py"]


def read_module(path: str) -> ModuleType:
    """A file of an installed package, without what its package imports besides."""
    pytest.importorskip("cv2", reason="samexporter and X-AnyLabeling need opencv-python-headless")
    package = importlib.util.find_spec(path.partition("/")[0])
    if package is None or package.origin is None:
        pytest.skip(f"needs the package that has {path}")
    spec = importlib.util.spec_from_file_location("reader", Path(package.origin).parents[1] / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", readers())
def test_annotation_tools_click_and_draw_boxes(for_annotators, world, ours, path):
    reader = read_module(path)
    files = for_annotators.files["fp32"]
    arguments = (None,) if path.startswith("samexporter") else ("cpu",)
    model = reader.SegmentAnything2ONNX(str(files["encoder"]), str(files["decoder"]), *arguments)
    image = np.asarray(world.first)
    # samexporter takes images in OpenCV's order of channels.
    embedding = model.encode(image[..., ::-1] if path.startswith("samexporter") else image)
    for name, mark in {
        "click": {"type": "point", "data": list(world.points[OBJECT]), "label": 1},
        "box": {"type": "rectangle", "data": box(world)},
    }.items():
        masks = model.predict_masks(embedding, [mark])
        assert iou(np.asarray(masks)[0, 0] > 0, ours[name]) > ALIKE


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_the_exporters_of_transformers_take_our_models():
    """With fixed lengths: asked for dynamic ones, they vary the height and width of images too, which a model fixes."""
    exporters = pytest.importorskip("transformers.exporters", reason="transformers has exporters from 5.20 on")
    model = tiny_image_model()
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    inputs = {
        "pixel_values": pixels,
        "input_points": torch.rand(2, 3, 2, 2) * 128,
        "input_labels": torch.ones(2, 3, 2, dtype=torch.long),
    }
    with plain_paths():
        wanted = model(**inputs)
    pytest.importorskip("onnxscript", reason="ONNX files need the extra export")
    for name in ("Dynamo", "Onnx"):
        config = getattr(exporters, f"{name}Config")()
        exported = getattr(exporters, f"{name}Exporter")().export(model, inputs, config)
        found = exported(**inputs)
        assert_close_in_scale(torch.as_tensor(found["pred_masks"]), wanted.pred_masks, 1e-4)


@torch.no_grad()
def test_openvino_gives_what_the_network_gives(tmp_path):
    openvino = pytest.importorskip("openvino", reason="needs the package openvino")
    model = tiny_video_model()
    names = ["memory_encoder", "tracked_mask_decoder"]
    exported = export(model, tmp_path / "graphs", format="openvino", graphs=names)
    for graph in graphs_of(model):
        if graph.name not in names:
            continue
        compiled = openvino.compile_model(str(exported.files["fp32"][graph.name]), "CPU", EXACTLY)
        for objects in (1, 3):
            inputs = graph.example(seed=objects, objects=objects)
            found = compiled({value.name: each.numpy() for value, each in zip(graph.inputs, inputs, strict=True)})
            with plain_paths():
                outputs = graph.module(*inputs)
            wanted = outputs if isinstance(outputs, tuple) else (outputs,)
            for value, each in zip(graph.outputs, wanted, strict=True):
                assert_close_in_scale(torch.from_numpy(found[value.name].copy()), each, 1e-4)
