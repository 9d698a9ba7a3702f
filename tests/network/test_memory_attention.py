"""Memory attention: against transformers and the official code, and what it promises about batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from closeness import assert_close_in_scale
from memory_attention_cases import POSITIONS, attention_of, config_of, inputs_of
from torch import nn
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryAttention

from sam2_hf.fast import chunking
from sam2_hf.fast import memory_attention as fast_forms
from sam2_hf.fast.dispatch import plain_paths
from sam2_hf.network.memory_attention import MemoryAttention, RotaryTable

OFFICIAL_WIDTHS = {
    "memory_attention_hidden_size": 256,
    "memory_attention_feed_forward_hidden_size": 512,
    "memory_attention_num_layers": 4,
    "memory_encoder_output_channels": 64,
    "memory_encoder_hidden_size": 256,
    "memory_fuser_embed_dim": 256,
    "mask_downsampler_embed_dim": 256,
    "vision_config": {"backbone_config": {"image_size": [64, 96]}},
    "prompt_encoder_config": {"image_size": [64, 96]},
    "mask_decoder_config": {},
}


def transformers_reference(config, ours):
    """The model of transformers with our weights; its memories are 64 wide unless its projections are replaced."""
    theirs = Sam2VideoMemoryAttention(config).eval()
    width, hidden = config.memory_encoder_output_channels, config.memory_attention_hidden_size
    for layer in theirs.layers:
        layer.cross_attn_image.k_proj = nn.Linear(width, hidden)
        layer.cross_attn_image.v_proj = nn.Linear(width, hidden)
    theirs.load_state_dict(ours.state_dict())
    return theirs


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("overrides", [OFFICIAL_WIDTHS, {"image_size": (96, 64)}, {"image_size": 64}])
@pytest.mark.parametrize("pointer_tokens", [0, 4])
@torch.no_grad()
def test_equals_transformers(implementation, overrides, pointer_tokens):
    config = config_of(**overrides)
    config._attn_implementation = implementation
    ours = attention_of(config)
    width, height = config.memory_attention_rope_feat_sizes
    inputs = inputs_of(config, pointer_tokens=pointer_tokens, positions=width * height)
    current, current_position, memory, memory_position = (x.transpose(0, 1) for x in inputs[:4])
    expected = transformers_reference(config, ours)(
        current.expand(-1, 3, -1), memory, current_position, memory_position, pointer_tokens
    )
    assert_close_in_scale(ours.condition(*inputs), expected.flatten(0, 1))


def test_has_the_parameters_of_the_checkpoints():
    config = config_of(**OFFICIAL_WIDTHS)
    expected = {name: value.shape for name, value in Sam2VideoMemoryAttention(config).state_dict().items()}
    assert {name: value.shape for name, value in MemoryAttention(config).state_dict().items()} == expected


@pytest.mark.parametrize(
    "overrides",
    [
        {"memory_encoder_output_channels": 8},
        {"memory_attention_num_attention_heads": 2},
        {"memory_attention_downsample_rate": 2},
    ],
)
@torch.no_grad()
def test_any_width_gives_the_same_with_eager_and_sdpa(overrides):
    config = config_of(**overrides)
    attention, inputs = attention_of(config), inputs_of(config)
    fused = attention.condition(*inputs)
    config._attn_implementation = "eager"
    assert_close_in_scale(attention.condition(*inputs), fused)


class TestBatches:
    def setup_method(self):
        self.config = config_of()
        self.attention = attention_of(self.config)

    @torch.no_grad()
    def test_objects_together_equal_objects_alone(self):
        current, current_position, memory, memory_position, pointers = inputs_of(self.config, objects=5)
        together = self.attention.condition(current, current_position, memory, memory_position, pointers)
        for index in range(5):
            own = slice(index, index + 1)
            alone = self.attention.condition(current, current_position, memory[own], memory_position[own], pointers)
            assert_close_in_scale(together[own], alone)

    @torch.no_grad()
    def test_padding_of_shorter_memories_is_not_read(self):
        """The first object has one memory and one pointer less than the second."""
        current, current_position, memory, memory_position, pointers = inputs_of(self.config, objects=2)
        mask = torch.ones(memory.shape[:2], dtype=torch.bool)
        mask[0, POSITIONS : 2 * POSITIONS] = False
        mask[0, -2:] = False
        padded = memory.masked_fill(~mask[..., None], 1e3)
        together = self.attention.condition(current, current_position, padded, memory_position, pointers, mask)
        short = [x[:1, mask[0]] for x in (memory, memory_position)]
        assert_close_in_scale(together[:1], self.attention.condition(current, current_position, *short, pointers - 2))
        whole = [x[1:] for x in (memory, memory_position)]
        assert_close_in_scale(together[1:], self.attention.condition(current, current_position, *whole, pointers))

    @torch.no_grad()
    def test_flash_attention_leaves_masked_memories_to_sdpa(self):
        """Flash kernels know no mask; here no flash kernel is installed, so being asked would raise."""
        attention, (current, _, memory, _, pointers) = self.attention.layers[0].cross_attn_image, inputs_of(self.config)
        mask = (torch.arange(memory.shape[1]) >= POSITIONS).expand(3, 1, 1, -1)
        queries = attention.queries(current, self.attention.rotary)
        keys_and_values = attention.keys_and_values(memory, memory, self.attention.rotary, pointers)
        expected = attention.attend(queries, *keys_and_values, mask=mask)
        self.config._attn_implementation = "flash_attention_2"
        assert torch.equal(attention.attend(queries, *keys_and_values, mask=mask), expected)

    @torch.no_grad()
    def test_one_frame_for_all_objects_equals_a_copy_for_each(self):
        current, current_position, memory, memory_position, pointers = inputs_of(self.config)
        shared = self.attention.condition(current, current_position, memory, memory_position, pointers)
        copies = [x.repeat(3, 1, 1) for x in (current, current_position)]
        assert_close_in_scale(self.attention.condition(*copies, memory, memory_position, pointers), shared)

    @torch.no_grad()
    def test_one_position_for_all_objects_equals_a_copy_for_each(self):
        current, current_position, memory, memory_position, pointers = inputs_of(self.config)
        shared = self.attention.condition(current, current_position, memory, memory_position[:1], pointers)
        copies = memory_position[:1].repeat(3, 1, 1)
        assert_close_in_scale(self.attention.condition(current, current_position, memory, copies, pointers), shared)

    @torch.no_grad()
    def test_the_image_attends_to_itself_once_for_all_objects(self):
        batches = {}
        for name in ("layers.0.self_attn.q_proj", "layers.0.cross_attn_image.q_proj", "layers.1.self_attn.q_proj"):
            module = self.attention.get_submodule(name)
            module.register_forward_hook(lambda _, inputs, __, name=name: batches.update({name: len(inputs[0])}))
        self.attention.condition(*inputs_of(self.config))
        assert list(batches.values()) == [1, 1, 3]

    @torch.no_grad()
    def test_the_order_of_whole_memories_and_of_pointers_does_not_matter(self):
        inputs = inputs_of(self.config)
        order = torch.cat(
            [
                torch.arange(POSITIONS, 2 * POSITIONS),
                torch.arange(POSITIONS),
                2 * POSITIONS + torch.tensor([2, 0, 3, 1]),
            ]
        )
        shuffled = [x[:, order] for x in inputs[2:4]]
        assert_close_in_scale(
            self.attention.condition(*inputs[:2], *shuffled, inputs[4]), self.attention.condition(*inputs)
        )


class TestKeys:
    """Keys and values of a memory can be built, and kept, apart from the frame that reads them."""

    def setup_method(self):
        config = config_of()
        self.rotary = attention_of(config).rotary
        self.attention = attention_of(config).layers[0].cross_attn_image
        self.memory, self.position = inputs_of(config, pointer_tokens=0)[2:4]

    @torch.no_grad()
    def test_of_several_memories_are_those_of_each(self):
        keys, values = self.attention.keys_and_values(self.memory + self.position, self.memory, self.rotary)
        for index, (memory, position) in enumerate(
            zip(self.memory.split(POSITIONS, 1), self.position.split(POSITIONS, 1), strict=True)
        ):
            part = slice(index * POSITIONS, (index + 1) * POSITIONS)
            own_keys, own_values = self.attention.keys_and_values(memory + position, memory, self.rotary)
            assert_close_in_scale(own_keys, keys[:, :, part])
            assert_close_in_scale(own_values, values[:, :, part])

    @torch.no_grad()
    def test_of_a_memory_and_of_its_time_add_up(self):
        """k(m + p + t) = k(m + p) + R W t: projection and rotation are linear."""
        time = torch.randn(1, 1, self.memory.shape[-1], generator=torch.Generator().manual_seed(2))
        whole, _ = self.attention.keys_and_values(self.memory + self.position + time, self.memory, self.rotary)
        timeless, _ = self.attention.keys_and_values(self.memory + self.position, self.memory, self.rotary)
        turned = self.rotary((time @ self.attention.k_proj.weight.T).expand(1, 2 * POSITIONS, -1).unsqueeze(2))
        assert_close_in_scale(timeless + turned.transpose(1, 2), whole)

    @torch.no_grad()
    def test_of_pointers_are_not_rotated(self):
        keys, _ = self.attention.keys_and_values(self.memory, self.memory, self.rotary, num_unrotated=POSITIONS)
        assert torch.equal(keys[:, 0, POSITIONS:], self.attention.k_proj(self.memory)[:, POSITIONS:])
        assert not torch.allclose(keys[:, 0, :POSITIONS], self.attention.k_proj(self.memory)[:, :POSITIONS])


class TestFastForms:
    """What is computed in blocks and chunks on a CPU equals the plain form."""

    @pytest.mark.parametrize("at_once", [5, POSITIONS, 3 * POSITIONS, 512])
    @pytest.mark.parametrize("pointer_tokens", [0, 4])
    @pytest.mark.parametrize("shared_position", [False, True])
    @torch.no_grad()
    def test_of_the_whole(self, monkeypatch, at_once, pointer_tokens, shared_position):
        monkeypatch.setattr(fast_forms, "KEYS_AT_ONCE", at_once)
        monkeypatch.setattr(chunking, "BYTES_IN_CACHE", 4096)
        monkeypatch.setattr(chunking, "LEAST_ROWS", 1)
        config = config_of()
        attention, inputs = attention_of(config), list(inputs_of(config, pointer_tokens=pointer_tokens))
        if shared_position:
            inputs[3] = inputs[3][:1]
        fast = attention.condition(*inputs)
        with plain_paths():
            plain = attention.condition(*inputs)
        assert not torch.equal(fast, plain)
        assert_close_in_scale(fast, plain)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @torch.no_grad()
    def test_of_the_rotation(self, dtype):
        table = RotaryTable(6, 4, 8)
        tokens = torch.randn(2, 3 * POSITIONS, 2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
        fast = fast_forms.turned_heads(tokens.flatten(2), SimpleNamespace(num_heads=2), table).transpose(1, 2)
        assert_close_in_scale(fast, table(tokens), 1e-6 if dtype is torch.float32 else 1e-2)

    @pytest.mark.parametrize("reason", ["eager", "heads", "width", "gradients", "autocast", "bfloat16", "training"])
    def test_are_not_used_where_they_would_not_do(self, monkeypatch, reason):
        def fail(*_):
            raise AssertionError("read in blocks")

        monkeypatch.setattr(fast_forms, "attend_in_blocks", fail)
        overrides = {"heads": {"memory_attention_num_attention_heads": 2}}.get(reason, {})
        config = config_of(**overrides)
        attention, inputs = attention_of(config), list(inputs_of(config))
        if reason == "width":  # a memory as wide as what reads it
            attention = attention.layers[0].self_attn
            assert not fast_forms.gains_from_blocks(attention, inputs[0])
            return
        if reason == "eager":
            config._attn_implementation = "eager"
        elif reason == "training":
            attention.train()
        elif reason == "bfloat16":
            attention, inputs[:4] = attention.bfloat16(), [x.bfloat16() for x in inputs[:4]]
        with torch.set_grad_enabled(reason == "gradients"), torch.autocast("cpu", enabled=reason == "autocast"):
            attention.condition(*inputs)


class TestRefusals:
    def test_of_a_map_that_is_not_the_configs(self):
        config = config_of()
        inputs = inputs_of(config, positions=20)
        with pytest.raises(ValueError, match="current has 20 positions, but the config names a map of 6 x 4 = 24"):
            attention_of(config).condition(*inputs)

    def test_of_a_memory_that_is_not_whole_maps(self):
        config = config_of()
        inputs = inputs_of(config)
        with pytest.raises(ValueError, match="memory has 52 tokens, 3 of them pointers"):
            attention_of(config).condition(*inputs[:4], 3)

    def test_of_heads_that_do_not_divide_the_width(self):
        with pytest.raises(ValueError, match="memory_attention_num_attention_heads 3 must divide the inner width 32"):
            MemoryAttention(config_of(memory_attention_num_attention_heads=3))


@pytest.mark.peers
@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_equals_the_official_code(heads):
    config = config_of(memory_attention_num_attention_heads=heads)
    ours, inputs = attention_of(config), inputs_of(config)
    theirs = official_attention(config)
    renamed = {"layer_norm": "norm", "o_proj": "out_proj"}
    weights = {}
    for name, value in ours.state_dict().items():
        for new, old in renamed.items():
            name = name.replace(new, old)
        weights[name] = value
    theirs.load_state_dict(weights)
    current, current_position, memory, memory_position = (x.transpose(0, 1) for x in inputs[:4])
    image = [x.expand(-1, 3, -1) for x in (current, current_position)]
    expected = theirs(image[0], memory, image[1], memory_position, inputs[4])
    assert_close_in_scale(ours.condition(*inputs), expected.transpose(0, 1))


def official_attention(config):
    from sam2.modeling.memory_attention import MemoryAttention as Official
    from sam2.modeling.memory_attention import MemoryAttentionLayer as OfficialLayer
    from sam2.modeling.sam.transformer import RoPEAttention

    def attention(**options):
        return RoPEAttention(
            rope_theta=10000.0,
            feat_sizes=config.memory_attention_rope_feat_sizes,
            embedding_dim=config.memory_attention_hidden_size,
            num_heads=config.memory_attention_num_attention_heads,
            downsample_rate=1,
            dropout=0.1,
            **options,
        )

    layer = OfficialLayer(
        activation="relu",
        cross_attention=attention(rope_k_repeat=True, kv_in_dim=config.memory_encoder_output_channels),
        d_model=config.memory_attention_hidden_size,
        dim_feedforward=config.memory_attention_feed_forward_hidden_size,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=attention(),
    )
    layers = config.memory_attention_num_layers
    return Official(config.memory_attention_hidden_size, pos_enc_at_input=True, layer=layer, num_layers=layers).eval()
