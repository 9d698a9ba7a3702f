"""`Sam2Model` from and to folders: what is loaded, what is said about it, and onto which devices."""

from __future__ import annotations

import logging
from importlib.util import find_spec

import pytest
import torch
import transformers
from prompt_tensors import assert_same_outputs, boxes_for, masks_for, pixels, points_for
from safetensors.torch import load_file, save_file
from tiny import tiny_config, tiny_image_model, tiny_video_model
from torch import nn
from torch._subclasses import FakeTensorMode

from sam2_hf.configuration_sam2 import Sam2Config
from sam2_hf.modeling_sam2 import Sam2Model, Sam2VisionModel

INPUTS = {**points_for(1, 2, 2), **boxes_for(1, 2), **masks_for(1)}
needs_accelerate = pytest.mark.skipif(find_spec("accelerate") is None, reason="accelerate is not installed")


@pytest.fixture(scope="module")
def model():
    return tiny_image_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("image")
    model.save_pretrained(path)
    return path


@pytest.fixture
def warnings_of_transformers(caplog):
    """Collects what transformers logs as a warning or worse."""
    transformers.utils.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        yield lambda: [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    transformers.utils.logging.disable_propagation()


def assert_same_weights(actual: nn.Module, expected: nn.Module) -> None:
    theirs = expected.state_dict()
    for name, value in actual.state_dict().items():
        assert torch.equal(value, theirs[name]), name


class TestFolders:
    def test_loads_what_it_saved(self, model, folder, warnings_of_transformers):
        loaded = Sam2Model.from_pretrained(folder)
        assert warnings_of_transformers() == []
        assert not loaded.training
        assert_same_weights(loaded, model)
        assert loaded.state_dict().keys() == model.state_dict().keys()
        with torch.no_grad():
            assert_same_outputs(loaded(pixels(), **INPUTS), model(pixels(), **INPUTS))

    def test_is_built_without_memory_and_still_filled_whole(self, folder, model):
        """Models are built on the meta device first; nothing that a checkpoint does not hold may stay unfilled."""
        loaded = Sam2Model.from_pretrained(folder)
        values = [*loaded.named_parameters(), *loaded.named_buffers()]
        assert all(value.device.type == "cpu" for _, value in values)
        gaussian = model.shared_image_embedding.positional_embedding
        assert torch.equal(loaded.shared_image_embedding.positional_embedding, gaussian)
        assert torch.equal(loaded.prompt_encoder.shared_embedding.positional_embedding, gaussian)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_loads_in_half_precision(self, model, folder, dtype):
        loaded = Sam2Model.from_pretrained(folder, dtype=dtype)
        assert {value.dtype for value in loaded.state_dict().values()} == {dtype}
        name = "mask_decoder.transformer.layers.0.mlp.proj_in.weight"
        assert torch.equal(loaded.state_dict()[name], model.state_dict()[name].to(dtype))

    @pytest.mark.parametrize("implementation", ["eager", "sdpa"])
    def test_attention_implementation_reaches_the_parts(self, folder, implementation):
        loaded = Sam2Model.from_pretrained(folder, attn_implementation=implementation)
        parts = [part for part in loaded.modules() if hasattr(part, "config")]
        assert len(parts) > 10
        assert {part.config._attn_implementation for part in parts} == {implementation}

    def test_vision_encoder_alone_is_saved_and_loaded(self, model, tmp_path):
        model.vision_encoder.save_pretrained(tmp_path)
        loaded, report = Sam2VisionModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        with torch.no_grad():
            expected = model.vision_encoder(pixels()).fpn_hidden_states
            for level, other in zip(loaded(pixels()).fpn_hidden_states, expected, strict=True):
                assert torch.equal(level, other)


class TestWarnings:
    def test_video_checkpoint_loads_in_silence(self, tmp_path, warnings_of_transformers):
        video = tiny_video_model()
        video.save_pretrained(tmp_path)
        image, report = Sam2Model.from_pretrained(tmp_path, output_loading_info=True)
        assert warnings_of_transformers() == []
        assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert type(image.config) is Sam2Config
        assert_same_weights(image, video)

    @pytest.fixture
    def damaged(self, folder, tmp_path):
        """Writes the checkpoint again with its tensors changed by a function."""

        def write(change):
            tensors = load_file(folder / "model.safetensors")
            change(tensors)
            save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
            tiny_config().save_pretrained(tmp_path)
            return tmp_path

        return write

    def test_missing_weights_are_named(self, damaged, warnings_of_transformers):
        path = damaged(lambda tensors: tensors.pop("mask_decoder.iou_token.weight"))
        _, report = Sam2Model.from_pretrained(path, output_loading_info=True)
        assert report["missing_keys"] == {"mask_decoder.iou_token.weight"}
        assert "mask_decoder.iou_token.weight" in "".join(warnings_of_transformers())

    @pytest.mark.parametrize("name", ["mask_decoder.memory_token", "vision_encoder.no_object_pointer.weight"])
    def test_unknown_weights_are_named(self, damaged, name, warnings_of_transformers):
        """Also such as only sound like the memory's."""
        path = damaged(lambda tensors: tensors.update({name: torch.zeros(2)}))
        _, report = Sam2Model.from_pretrained(path, output_loading_info=True)
        assert report["unexpected_keys"] == {name}
        assert name in "".join(warnings_of_transformers())


class TestDevices:
    @needs_accelerate
    @pytest.mark.parametrize("device_map", [{"": "cpu"}, "auto", "cpu"])
    @torch.no_grad()
    def test_device_map(self, model, folder, device_map):
        loaded = Sam2Model.from_pretrained(folder, device_map=device_map)
        assert_same_outputs(loaded(pixels(), **INPUTS), model(pixels(), **INPUTS))

    @needs_accelerate
    @pytest.mark.skipif(torch.version.cuda is None, reason="even devices that are only played need a build for them")
    def test_parts_may_lie_on_several_devices(self, monkeypatch):
        """On fake tensors, which know shapes and devices alone: no GPU is needed."""
        from accelerate.hooks import attach_execution_device_hook

        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # spares the look at values, which are fake
        with FakeTensorMode(), torch.no_grad():
            model = Sam2Model(tiny_config()).eval().requires_grad_(False)
            backbone = model.vision_encoder.backbone
            parts = [*backbone.blocks, model.vision_encoder.neck, model.prompt_encoder, model.mask_decoder]
            move(model, "cuda:0")
            for index, part in enumerate(parts):
                device = f"cuda:{index % 7}"
                move(part, device)
                attach_execution_device_hook(part, device)
            inputs = {name: value.to("cuda:0") for name, value in fake_inputs().items()}
            output = model(**inputs)
            assert output.pred_masks.device == model.mask_decoder.iou_token.weight.device
            inputs.pop("pixel_values")
            again = model(image_embeddings=output.image_embeddings, multimask_output=False, **inputs)
            assert again.pred_masks.shape == (1, 2, 1, 32, 32)


def fake_inputs():
    return {"pixel_values": torch.zeros(1, 3, 128, 128), "input_boxes": torch.zeros(1, 2, 4)}


def move(module: nn.Module, device: str) -> None:
    """`module.to(device)`, which fake parameters do not take."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(value.to(device), requires_grad=False)
        for name, value in part._buffers.items():
            part._buffers[name] = value.to(device)
