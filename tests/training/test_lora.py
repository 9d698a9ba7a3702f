from __future__ import annotations

import sys

import pytest
import torch
from tiny import randomize, tiny_config

from sam2_hf.training.models.clip_model import Sam2VideoForTraining
from sam2_hf.training.models.lora import add_lora
from sam2_hf.training.prompting.interaction import InteractionPlan

PLAN = InteractionPlan({0: "click"}, {}, where="centre")
PARTS = {"image_encoder": "vision_encoder", "memory": "memory_attention", "decoder": "mask_decoder"}


def model():
    return randomize(Sam2VideoForTraining(tiny_config(video=True, image_size=64))).eval()


def clip():
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(1, 3, 1, 64, 64, dtype=torch.int8)
    labels[..., 10:40, 20:50] = 1
    return torch.randn(1, 3, 3, 64, 64, generator=generator), labels


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
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            assert (parameter.grad is not None) == (name in learning)
            if "lora_B" in name:
                assert float(parameter.grad.abs().sum()) > 0
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        after = adapted(*clip(), PLAN).loss
        merged = adapted.merge_and_unload()
        assert type(merged) is Sam2VideoForTraining
        assert abs(float(after) - float(before)) > 1e-3
        # What passed an adapter by would show here: merged, it counts.
        torch.testing.assert_close(merged(*clip(), PLAN).loss, after, rtol=1e-4, atol=1e-4)


def test_names_the_parts():
    pytest.importorskip("peft")
    with pytest.raises(
        ValueError, match=r"parts must be some of \['decoder', 'image_encoder', 'memory'\], got \['x'\]"
    ):
        add_lora(model(), ["x"])
