from __future__ import annotations

import torch
from tiny import tiny_config

from sam2_hf.training.models.clip_model import Sam2VideoForTraining
from sam2_hf.training.models.initialisation import initialise


def test_a_click_attends_to_its_position_before_any_training():
    torch.manual_seed(0)
    model = Sam2VideoForTraining(tiny_config(video=True))
    initialise(model)
    positions = model.get_image_wide_positional_embeddings()[0].flatten(1).T
    for layer in model.mask_decoder.transformer.layers:
        attention = layer.cross_attn_token_to_image
        scores = attention.q_proj(positions) @ attention.k_proj(positions).T
        assert (scores.argmax(dim=-1) == torch.arange(len(positions))).float().mean() > 0.9


def test_the_same_seed_gives_the_same_weights():
    def drawn():
        torch.manual_seed(3)
        model = Sam2VideoForTraining(tiny_config(video=True))
        initialise(model)
        return model.state_dict()

    first, second = drawn(), drawn()
    assert all(torch.equal(first[name], second[name]) for name in first)
