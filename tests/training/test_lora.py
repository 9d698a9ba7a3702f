from __future__ import annotations

import sys

import pytest
import torch
from tiny import randomize, tiny_config, tiny_image_model

from sam2_hf import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel, bundled_checkpoint
from sam2_hf.training.models.clip_model import Sam2VideoForTraining
from sam2_hf.training.models.lora import add_lora
from sam2_hf.training.prompting.interaction import InteractionPlan

PLAN = InteractionPlan({0: "click"}, {}, where="centre")
PARTS = {"image_encoder": "vision_encoder", "memory": "memory_attention", "decoder": "mask_decoder"}


def model():
    return randomize(Sam2VideoForTraining(tiny_config(video=True, image_size=64))).eval()


def clip(size=64):
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(1, 3, 1, size, size, dtype=torch.int8)
    labels[..., size // 6 : size // 2, size // 3 : size - size // 4] = 1
    return torch.randn(1, 3, 3, size, size, generator=generator), labels


def image(size):
    """The arguments of an image model for one image with two clicked objects."""
    pixels, labels = clip(size)
    return {
        "pixel_values": pixels[:, 0],
        "labels": labels[:, 0].repeat(1, 2, 1, 1),
        "input_points": torch.tensor([[[[20.0, 15.0]], [[40.0, 50.0]]]]),
        "input_labels": torch.ones(1, 2, 1, dtype=torch.int64),
    }


def fill_adapters(adapted, scale):
    """Adapters start as nothing; with other values they count."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def test_needs_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match="pip install peft"):
        add_lora(model())


@pytest.mark.parametrize("part", PARTS)
def test_adapters_learn_and_become_part_of_the_weights(part):
    pytest.importorskip("peft")
    adapted = add_lora(model(), [part], rank=2)
    learning = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert learning
    assert all("lora_" in name and PARTS[part] in name for name in learning)
    before = adapted(*clip(), PLAN).loss
    torch.testing.assert_close(before, model()(*clip(), PLAN).loss)  # adapters start as nothing
    before.backward()
    for name, parameter in adapted.named_parameters():
        assert (parameter.grad is not None) == (name in learning)
        if "lora_B" in name:
            assert float(parameter.grad.abs().sum()) > 0
    fill_adapters(adapted, 0.3)
    with torch.no_grad():
        after = adapted(*clip(), PLAN).loss
        merged = adapted.merge_and_unload()
        assert type(merged) is Sam2VideoForTraining
        assert abs(float(after) - float(before)) > 1e-3
        # What passed an adapter by would show here: merged, it counts.
        torch.testing.assert_close(merged(*clip(), PLAN).loss, after, rtol=1e-4, atol=1e-4)


def test_an_image_model_learns_by_adapters_too():
    pytest.importorskip("peft")
    adapted = add_lora(tiny_image_model(image_size=64), rank=2)
    learning = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert learning and all("lora_" in name and "vision_encoder" in name for name in learning)
    before = adapted(**image(64)).loss
    before.backward()
    assert all(p.grad is not None for name, p in adapted.named_parameters() if name in learning)
    fill_adapters(adapted, 0.3)
    with torch.no_grad():
        after = adapted(**image(64)).loss
        merged = adapted.merge_and_unload()
        assert type(merged) is Sam2Model
        assert abs(float(after) - float(before)) > 1e-3
        torch.testing.assert_close(merged(**image(64)).loss, after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", ["all-linear", ["q_proj", "k_proj", "v_proj", "o_proj"]])
@pytest.mark.parametrize("kind", [Sam2Model, Sam2VideoForTraining])
@torch.no_grad()
def test_no_fast_form_passes_an_adapter_by(kind, layers):
    """PEFT's own calls on every linear layer, at the widths of a trained model, where all fast forms are used."""
    peft = pytest.importorskip("peft")
    name = bundled_checkpoint()
    config = (Sam2Config if kind is Sam2Model else Sam2VideoConfig).from_pretrained(name).with_image_size(128)
    adapted = peft.get_peft_model(
        kind.from_pretrained(name, config=config).eval(), peft.LoraConfig(r=2, target_modules=layers)
    )
    fill_adapters(adapted, 0.2)

    def loss():
        return (adapted(*clip(128), PLAN) if kind is Sam2VideoForTraining else adapted(**image(128))).loss

    with_adapters = loss()
    with adapted.disable_adapter():
        assert abs(float(loss() / with_adapters) - 1) > 1e-2
    adapted.merge_adapter()
    torch.testing.assert_close(loss(), with_adapters, rtol=1e-4, atol=0)


def test_saved_adapters_fit_the_model_that_tracks(tmp_path):
    peft = pytest.importorskip("peft")
    adapted = add_lora(model(), rank=2)
    fill_adapters(adapted, 0.3)
    adapted.save_pretrained(tmp_path)
    tracking = randomize(Sam2VideoModel(tiny_config(video=True, image_size=64)))
    loaded = peft.PeftModel.from_pretrained(tracking, tmp_path).merge_and_unload()
    assert type(loaded) is Sam2VideoModel
    merged = adapted.merge_and_unload().state_dict()
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, merged[name], rtol=0, atol=0)


def test_names_the_parts():
    pytest.importorskip("peft")
    with pytest.raises(
        ValueError, match=r"parts must be some of \['decoder', 'image_encoder', 'memory'\] .*, got \['x'\]"
    ):
        add_lora(model(), ["x"])
    with pytest.raises(ValueError, match=r"\['decoder', 'image_encoder'\] for a Sam2Model, got \['memory'\]"):
        add_lora(tiny_image_model(image_size=64), ["memory"])
    with pytest.raises(ValueError, match=r"got \[\]"):
        add_lora(model(), [])
