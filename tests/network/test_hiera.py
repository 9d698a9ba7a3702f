"""The image trunk: windows, pooling, positions."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from hypothesis import given
from hypothesis import strategies as st
from tiny import randomize_parameters, tiny_config
from torch.nn import functional as F
from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

from sam2_hf.configuration_sam2 import Sam2HieraDetConfig
from sam2_hf.fast import chunking
from sam2_hf.fast import hiera as fast_hiera
from sam2_hf.fast.dispatch import plain_paths
from sam2_hf.network.hiera import Hiera, max_pool, merge_windows, partition_windows
from sam2_hf.sizes import read_size


def trunk_config(**overrides):
    """The tiny trunk with some fields replaced."""
    values = {**tiny_config().vision_config.backbone_config.to_dict(), "image_size": 64, **overrides}
    values.pop("model_type")
    return Sam2HieraDetConfig(**values)


def trunk_of(config, seed=0):
    return randomize_parameters(Hiera(config), torch.Generator().manual_seed(seed)).eval()


def pixels_for(config, batch=2, seed=1):
    size = (batch, config.num_channels, *read_size(config.image_size, "image_size"))
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


class TestWindows:
    @given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.integers(1, 8))
    def test_partition_and_merge_undo_each_other(self, batch, height, width, window):
        features = torch.arange(batch * height * width * 2.0).view(batch, height, width, 2)
        windows = partition_windows(features, window)
        count = batch * -(-height // window) * -(-width // window)
        assert windows.shape == (count, window, window, 2)
        assert torch.equal(merge_windows(windows, window, (height, width)), features)

    def test_windows_run_row_by_row_and_are_padded_with_zeros(self):
        features = torch.arange(1.0, 13.0).view(1, 3, 4, 1)
        windows = partition_windows(features, 2)[..., 0]
        assert windows.tolist() == [[[1, 2], [5, 6]], [[3, 4], [7, 8]], [[9, 10], [0, 0]], [[11, 12], [0, 0]]]


def test_max_pool_takes_the_largest_of_each_block():
    features = torch.tensor([[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, -1.0, 7.0]]).view(1, 2, 4, 1)
    assert max_pool(features, (2, 2)).flatten().tolist() == [5, 7]
    assert max_pool(features, (1, 2)).flatten().tolist() == [5, 2, 4, 7]


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 2)])
@torch.no_grad()
def test_max_pool_is_the_same_in_both_forms(stride):
    features = torch.randn(2, 7, 5, 3, generator=torch.Generator().manual_seed(0))[..., :2]
    assert torch.equal(fast_hiera.max_pool(features, stride), max_pool(features, stride))


class TestFastForms:
    """Maps in bands, windows that are filled up after the projection, a position that is added in place."""

    # The 8x8 map of the second stage in windows of 6 is filled up; so are all later ones.
    @pytest.mark.parametrize("windows", [[8, 4, 4, 2], [8, 6, 6, 4]])
    @pytest.mark.parametrize("image_size", [64, (64, 128)])
    @torch.no_grad()
    def test_give_the_same_stages(self, monkeypatch, windows, image_size):
        monkeypatch.setattr(chunking, "BYTES_IN_CACHE", 1)
        monkeypatch.setattr(chunking, "LEAST_ROWS", 1)
        config = trunk_config(window_size_per_stage=windows, image_size=image_size)
        trunk, pixels = trunk_of(config), pixels_for(config)
        before = pixels.clone()
        fast = trunk(pixels)
        with plain_paths():
            plain = trunk(pixels)
        assert torch.equal(pixels, before)
        assert not torch.equal(fast.stages[-1], plain.stages[-1])
        for stage, expected in zip(fast.stages, plain.stages, strict=True):
            assert_close_in_scale(stage, expected)

    @torch.no_grad()
    def test_take_a_map_band_by_band(self, monkeypatch):
        monkeypatch.setattr(chunking, "BYTES_IN_CACHE", 1)
        monkeypatch.setattr(chunking, "LEAST_ROWS", 1)
        config = trunk_config()
        trunk, heights = trunk_of(config), []
        trunk.blocks[0].layer_norm1.register_forward_hook(lambda _, inputs, __: heights.append(inputs[0].shape[1]))
        trunk(pixels_for(config))
        assert heights == [8, 8]


class TestTrunk:
    @pytest.mark.parametrize("image_size", [64, 128, (64, 96), (96, 32)])
    @torch.no_grad()
    def test_stages_have_the_sizes_that_the_configuration_derives(self, image_size):
        config = trunk_config(image_size=image_size)
        trunk = trunk_of(config)(pixels_for(config))
        widths = config.embed_dim_per_stage
        assert [tuple(stage.shape) for stage in trunk.stages] == [
            (2, *size, width) for size, width in zip(config.feature_sizes(), widths, strict=True)
        ]
        assert trunk.hidden_states is None and trunk.attentions is None

    @torch.no_grad()
    def test_equals_transformers_on_a_rectangle(self):
        config = trunk_config(image_size=(64, 96), blocks_per_stage=[2, 2, 3, 2], global_attention_blocks=[5])
        ours = trunk_of(config)
        theirs = Sam2HieraDetModel(config).eval()
        theirs.load_state_dict(ours.state_dict())
        pixels = pixels_for(config)
        expected = theirs(pixels).intermediate_hidden_states
        for stage, reference in zip(ours(pixels).stages, expected, strict=True):
            assert_close_in_scale(stage, reference)

    @torch.no_grad()
    def test_hidden_states_are_the_embedding_and_every_block(self):
        config = trunk_config()
        trunk = trunk_of(config)
        features = trunk(pixels_for(config), output_hidden_states=True)
        assert len(features.hidden_states) == 1 + len(trunk.blocks)
        ends = [features.hidden_states[1 + end] for end in trunk.stage_ends]
        assert all(torch.equal(end, stage) for end, stage in zip(ends, features.stages, strict=True))

    @torch.no_grad()
    def test_attentions_are_every_blocks_weights_in_its_windows(self):
        config = trunk_config()
        attentions = trunk_of(config)(pixels_for(config), output_attentions=True).attentions
        # Windows of the 16x16 map: 8x8; of the 8x8 map: 4x4; block 3 is global on the 4x4 map; the last stage still
        # sees windows of 4x4. Where a stage begins, the queries are pooled to a quarter.
        assert [tuple(weights.shape) for weights in attentions] == [
            (2 * 4, 1, 64, 64),
            (2 * 4, 2, 16, 64),
            (2 * 4, 4, 4, 16),
            (2 * 1, 4, 16, 16),
            (2 * 1, 8, 4, 16),
        ]
        for weights in attentions:
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))

    @torch.no_grad()
    def test_asking_for_attentions_changes_no_feature(self):
        config = trunk_config()
        trunk, pixels = trunk_of(config), pixels_for(config)
        plain, asked = trunk(pixels).stages, trunk(pixels, output_attentions=True).stages
        for stage, other in zip(plain, asked, strict=True):
            assert_close_in_scale(other, stage)

    @torch.no_grad()
    def test_windows_do_not_see_each_other_before_global_attention(self):
        config = trunk_config(image_size=64, global_attention_blocks=[])
        trunk = trunk_of(config)
        pixels = pixels_for(config, batch=1)
        changed = pixels.clone()
        changed[..., 48:, 48:] += 1  # far inside the lower right window of every stage
        before, after = trunk(pixels).stages[0], trunk(changed).stages[0]
        assert torch.equal(before[:, :8, :8], after[:, :8, :8])
        assert not torch.equal(before[:, 8:, 8:], after[:, 8:, 8:])

    @torch.no_grad()
    def test_a_global_block_may_open_a_stage(self):
        config = trunk_config(image_size=64, global_attention_blocks=[2])
        trunk = trunk_of(config)(pixels_for(config), output_attentions=True)
        assert trunk.attentions[2].shape == (2, 4, 16, 64)

    @torch.no_grad()
    def test_a_pooled_stage_may_keep_its_width(self):
        config = trunk_config(embed_dim_per_stage=[8, 8, 16, 16])
        trunk = trunk_of(config)
        stages = trunk(pixels_for(config)).stages
        assert [stage.shape[1:] for stage in stages] == [(16, 16, 8), (8, 8, 8), (4, 4, 16), (2, 2, 16)]

    @torch.no_grad()
    def test_position_embedding_is_a_stretched_background_and_repeated_windows(self):
        config = trunk_config(image_size=(64, 96))
        trunk = trunk_of(config)
        embedding = trunk.position_embedding(16, 24).permute(0, 3, 1, 2)
        background = F.interpolate(trunk.pos_embed, size=(16, 24), mode="bicubic")
        torch.testing.assert_close(embedding - background, trunk.pos_embed_window.repeat(1, 1, 2, 3))
