"""How memories become tokens."""

from __future__ import annotations

import pytest
import torch

from sam2_hf.network.features import pointer_distance_scale
from sam2_hf.network.memory_tokens import build_memory, memory_mask, scale_keys


def test_distances_are_scaled_by_the_reach():
    assert pointer_distance_scale(16) == 15
    assert pointer_distance_scale(16, num_frames=200) == 15
    assert pointer_distance_scale(16, num_frames=9) == 8
    assert pointer_distance_scale(16, num_frames=1) == 1


class TestBuildMemory:
    def setup_method(self):
        generator = torch.Generator().manual_seed(0)
        self.features = torch.randn(2, 3, 4, 2, 5, generator=generator)
        self.spatial = torch.randn(4, 2, 5, generator=generator)
        self.time = torch.randn(2, 3, 4, generator=generator)
        self.pointers = torch.randn(2, 6, 8, generator=generator)
        self.pointer_time = torch.randn(2, 6, 4, generator=generator)

    def test_spatial_tokens_run_memory_by_memory_and_row_by_row(self):
        memory = build_memory(self.features, self.spatial, self.time)
        assert memory.tokens.shape == memory.position.shape == (2, 3 * 10, 4) and memory.num_pointer_tokens == 0
        index = 2 * 10 + 1 * 5 + 3
        torch.testing.assert_close(memory.tokens[1, index], self.features[1, 2, :, 1, 3])
        torch.testing.assert_close(memory.position[1, index], self.spatial[:, 1, 3] + self.time[1, 2])

    def test_pointers_are_cut_into_tokens_at_the_end(self):
        memory = build_memory(self.features, self.spatial, self.time, self.pointers, self.pointer_time)
        assert memory.tokens.shape == memory.position.shape == (2, 30 + 12, 4) and memory.num_pointer_tokens == 12
        torch.testing.assert_close(memory.tokens[:, 30 + 2 * 3], self.pointers[:, 3, :4])
        torch.testing.assert_close(memory.tokens[:, 30 + 2 * 3 + 1], self.pointers[:, 3, 4:])
        torch.testing.assert_close(memory.position[:, 30 + 2 * 3 + 1], self.pointer_time[:, 3])

    def test_pointers_without_an_encoding_have_position_zero(self):
        memory = build_memory(self.features, self.spatial, self.time, self.pointers)
        assert memory.position[:, 30:].eq(0).all() and memory.position.shape == (2, 42, 4)

    def test_an_encoding_in_common_is_not_repeated(self):
        shared = build_memory(self.features, self.spatial, self.time[:1], self.pointers, self.pointer_time[:1])
        assert shared.position.shape == (1, 42, 4)
        mixed = build_memory(self.features, self.spatial, self.time[:1], self.pointers, self.pointer_time)
        torch.testing.assert_close(mixed.position[:1, :30], shared.position[:, :30])
        assert mixed.position.shape == (2, 42, 4)

    def test_memories_stored_in_bfloat16_are_read_in_the_precision_of_the_model(self):
        memory = build_memory(self.features.bfloat16(), self.spatial, self.time, self.pointers.bfloat16())
        assert memory.tokens.dtype == memory.position.dtype == torch.float32

    def test_refuses_pointers_that_cannot_be_cut(self):
        with pytest.raises(ValueError, match="width 7 cannot be cut into tokens of width 4"):
            build_memory(self.features, self.spatial, self.time, self.pointers[..., :7])

    def test_scaled_keys_leave_values_and_pointers_alone(self):
        memory = build_memory(self.features, self.spatial, self.time[:1], self.pointers, self.pointer_time)
        factors = torch.tensor([[0.95, 1.0, 1.05], [1.0, 2.0, 0.5]])
        scaled = scale_keys(memory, factors)
        assert scaled.tokens is memory.tokens and scaled.num_pointer_tokens == memory.num_pointer_tokens
        keys, before = scaled.tokens + scaled.position, memory.tokens + memory.position
        torch.testing.assert_close(keys[:, :30], before[:, :30] * factors.repeat_interleave(10, dim=1)[..., None])
        torch.testing.assert_close(keys[:, 30:], before[:, 30:])

    def test_mask_covers_the_tokens_of_padded_memories_and_pointers(self):
        mask = memory_mask(torch.tensor([[True, False]]), 3, torch.tensor([[False, True]]), 2)
        assert mask.tolist() == [[True] * 3 + [False] * 3 + [False] * 2 + [True] * 2]
        assert memory_mask(torch.tensor([[True, False]]), 2).tolist() == [[True, True, False, False]]
