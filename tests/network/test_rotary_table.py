"""The rotary position encoding of memory attention."""

from __future__ import annotations

import pytest
import torch
from memory_attention_cases import POSITIONS, RECTANGLE, config_of
from tiny import tiny_video_model
from torch import nn

from sam2_hf.network.memory_attention import MemoryAttention, RotaryTable


class TestRotaryTable:
    def test_turns_pairs_of_channels_by_column_then_by_row(self):
        """Against the definition with complex numbers: width 6, height 4, heads of 8 channels."""
        tokens = torch.randn(2, POSITIONS, 3, 8, generator=torch.Generator().manual_seed(0))
        turned = RotaryTable(6, 4, 8, theta=100.0)(tokens)
        for row, column in [(0, 0), (0, 5), (3, 0), (2, 4)]:
            angles = torch.tensor([column, column / 10, row, row / 10])
            pairs = torch.view_as_complex(tokens[:, row * 6 + column].unflatten(-1, (4, 2)))
            expected = torch.view_as_real(pairs * torch.polar(torch.ones(4), angles)).flatten(-2)
            torch.testing.assert_close(turned[:, row * 6 + column], expected)

    def test_scores_depend_on_the_displacement_alone(self):
        table = RotaryTable(6, 4, 8)
        query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
        turned = [table(x.expand(1, POSITIONS, 1, 8))[0, :, 0].unflatten(0, (4, 6)) for x in (query, key)]
        here, there = (turned[0][0, 1] @ turned[1][2, 3]), (turned[0][1, 3] @ turned[1][3, 5])
        torch.testing.assert_close(here, there)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_stays_in_float32_whatever_the_model_is_cast_to(self, dtype):
        table, expected = RotaryTable(6, 4, 8), RotaryTable(6, 4, 8)
        holder = nn.Sequential(table).to(dtype)
        assert torch.equal(holder[0].cos, expected.cos) and torch.equal(holder[0].sin, expected.sin)
        assert holder[0].cos.dtype == torch.float32

    def test_is_not_in_the_state_dict_and_can_be_filled_again(self):
        with torch.device("meta"):
            table = RotaryTable(6, 4, 8)
        table.to_empty(device="cpu")
        table.initialise()
        assert torch.equal(table.sin, RotaryTable(6, 4, 8).sin)
        assert not table.state_dict()

    def test_is_filled_in_models_that_are_loaded(self, tmp_path):
        model = tiny_video_model(**RECTANGLE)
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
        assert torch.equal(loaded.memory_attention.rotary.sin, RotaryTable(6, 4, 32).sin)

    def test_takes_its_base_from_the_config(self):
        config = config_of(rope_parameters={"rope_type": "axial", "rope_theta": 50.0})
        assert torch.equal(MemoryAttention(config).rotary.cos, RotaryTable(6, 4, 32, theta=50.0).cos)

    def test_refuses_heads_that_cannot_be_rotated(self):
        with pytest.raises(ValueError, match="multiple of 4 to be rotated, got 6"):
            RotaryTable(6, 4, 6)
