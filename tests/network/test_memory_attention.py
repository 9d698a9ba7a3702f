"""Memory attention: against transformers and the official code, and what it promises about batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import randomize_parameters, tiny_config, tiny_video_model
from torch import nn
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryAttention

from sam2_hf.fast import chunking
from sam2_hf.fast import memory_attention as fast_forms
from sam2_hf.fast.dispatch import plain_paths
from sam2_hf.network.memory_attention import MemoryAttention, RotaryTable

RECTANGLE = {"image_size": (64, 96)}  # a map of 4 rows and 6 columns
POSITIONS = 24
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


def config_of(**overrides):
    config = tiny_config(video=True, **{**RECTANGLE, **overrides})
    config._attn_implementation = "sdpa"
    return config


def attention_of(config, seed=0):
    return randomize_parameters(MemoryAttention(config), torch.Generator().manual_seed(seed)).eval()


def inputs_of(config, objects=3, memories=2, pointer_tokens=4, positions=POSITIONS, seed=1):
    """current (1, L, C) and memory (N, M, D), each with its position."""
    generator = torch.Generator().manual_seed(seed)
    hidden, width = config.memory_attention_hidden_size, config.memory_encoder_output_channels
    image = (torch.randn(1, positions, hidden, generator=generator) for _ in range(2))
    length = memories * positions + pointer_tokens
    memory = (torch.randn(objects, length, width, generator=generator) for _ in range(2))
    return (*image, *memory, pointer_tokens)


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
        keys, _ = self.attention.keys_and_values(self.memory, self.memory, self.rotary, num_unplaced=POSITIONS)
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


class TestTraining:
    def setup_method(self):
        self.config = config_of()
        self.attention = attention_of(self.config).train()
        self.inputs = inputs_of(self.config)

    def test_gradients_reach_every_parameter_and_input(self):
        inputs = [x.requires_grad_() for x in self.inputs[:4]]
        self.attention.condition(*inputs, self.inputs[4]).square().sum().backward()
        for name, parameter in self.attention.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        assert all(x.grad.abs().max() > 0 for x in inputs)

    @pytest.mark.parametrize("use_reentrant", [False, True])
    def test_gradient_checkpointing_changes_no_gradient(self, use_reentrant):
        self.attention.eval()
        gradients = []
        for checkpointing in (False, True):
            self.attention.zero_grad()
            # Dropout is off in its modules, while the layers believe to be in training, where checkpoints are made.
            for layer in self.attention.layers:
                layer.training = True
                layer.gradient_checkpointing = checkpointing
                layer._gradient_checkpointing_func = lambda function, *args: torch.utils.checkpoint.checkpoint(
                    function, *args, use_reentrant=use_reentrant
                )
            inputs = [x.detach().clone().requires_grad_() for x in self.inputs[:4]]
            self.attention.condition(*inputs, self.inputs[4]).square().sum().backward()
            gradients.append([p.grad.clone() for p in self.attention.parameters()] + [x.grad for x in inputs])
        # A reentrant checkpoint computes first without gradients, when fast forms are used: the same up to rounding.
        for plain, checkpointed in zip(*gradients, strict=True):
            assert_close_in_scale(checkpointed, plain)

    @torch.no_grad()
    def test_dropout_acts_in_training_alone(self):
        assert not torch.allclose(self.attention.condition(*self.inputs), self.attention.condition(*self.inputs))
        self.attention.eval()
        assert torch.equal(self.attention.condition(*self.inputs), self.attention.condition(*self.inputs))

    @torch.no_grad()
    def test_dropout_of_attention_and_of_layers_are_separate(self):
        inputs, expected = self.inputs, attention_of(self.config).condition(*self.inputs)
        quiet = attention_of(config_of(memory_attention_dropout=0.0, memory_attention_rope_dropout=0.0)).train()
        assert_close_in_scale(quiet.condition(*inputs), expected)
        for field in ("memory_attention_dropout", "memory_attention_rope_dropout"):
            other = {"memory_attention_dropout": 0.0, "memory_attention_rope_dropout": 0.0, field: 0.5}
            assert not torch.allclose(attention_of(config_of(**other)).train().condition(*inputs), expected, atol=1e-3)


@torch.no_grad()
def test_bfloat16_is_close_to_float32():
    config = config_of()
    attention, inputs = attention_of(config), inputs_of(config)
    expected = attention.condition(*inputs)
    half = attention.bfloat16().condition(*(x.bfloat16() for x in inputs[:4]), inputs[4])
    assert half.dtype == torch.bfloat16
    # bfloat16 has 8 bits of mantissa: 4e-3 a rounding, with some ten roundings in a row in two layers.
    assert_close_in_scale(half.float(), expected, tolerance=4e-2)


@torch.no_grad()
def test_compiles_as_one_graph():
    config = config_of()
    attention, inputs = attention_of(config), inputs_of(config)
    compiled = torch.compile(attention.condition, fullgraph=True, backend="aot_eager")
    assert_close_in_scale(compiled(*inputs), attention.condition(*inputs))


@pytest.mark.slow
@torch.no_grad()
def test_compiled_to_kernels_gives_the_same():
    config = config_of()
    attention, inputs = attention_of(config), inputs_of(config)
    mask = torch.ones(inputs[2].shape[:2], dtype=torch.bool)
    mask[1, :POSITIONS] = False
    compiled = torch.compile(attention.condition, fullgraph=True)
    assert_close_in_scale(compiled(*inputs), attention.condition(*inputs))
    assert_close_in_scale(compiled(*inputs, mask), attention.condition(*inputs, mask))


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
