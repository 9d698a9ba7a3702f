from __future__ import annotations

import pytest
from tiny import tiny_image_model, tiny_video_model

from sam2_hf.training.models.freezing import freeze


def learning_parts(model):
    return {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_presets_leave_the_right_parts_to_learn():
    model = tiny_video_model()
    everything = learning_parts(model)
    memory = everything - {
        "vision_encoder",
        "prompt_encoder",
        "mask_decoder",
        "no_memory_embedding",
        "no_memory_positional_encoding",
    }
    for preset, expected in {
        "image_encoder": everything - {"vision_encoder"},
        "all_but_memory": memory,
        "all_but_decoder": {"mask_decoder"},
        "nothing": everything,
    }.items():
        count = freeze(model, preset)
        assert learning_parts(model) == expected
        assert count == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_an_image_model_has_no_memory_to_learn():
    model = tiny_image_model()
    freeze(model, "image_encoder")
    with pytest.raises(ValueError, match="Sam2Model has nothing left to learn with the preset 'all_but_memory'"):
        freeze(model, "all_but_memory")


def test_names_the_presets():
    with pytest.raises(ValueError, match=r"one of \['all_but_decoder', .*\], got 'trunk'"):
        freeze(tiny_image_model(), "trunk")
