"""The layers that the parts share."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import randomize_parameters, tiny_config
from torch import nn
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sam2_hf.network.layers import (
    FeedForward,
    LayerNorm2d,
    PromptAttention,
    attend,
    eager_attention,
    sine_position_encoding,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def heads(*lengths, seed=0, batch=2, num_heads=3, width=4):
    """Random (B, h, N, d) tensors, one for each length."""
    random = generator(seed)
    return [torch.randn(batch, num_heads, length, width, generator=random) for length in lengths]


def attention_module(implementation="eager"):
    """What an attention function reads of a module."""
    module = nn.Module()
    module.config = SimpleNamespace(_attn_implementation=implementation)
    return module.eval()


class TestFeedForward:
    def test_is_linear_layers_with_an_activation_between(self):
        mlp = randomize_parameters(FeedForward(4, 6, 2, num_layers=3), generator())
        x = torch.randn(5, 4, generator=generator(1))
        expected = mlp.proj_out(mlp.layers[0](mlp.proj_in(x).relu()).relu())
        torch.testing.assert_close(mlp(x), expected)

    def test_sigmoid_output_lies_between_0_and_1(self):
        mlp = randomize_parameters(FeedForward(4, 6, 2, num_layers=2), generator())
        bounded = FeedForward(4, 6, 2, num_layers=2, sigmoid_output=True)
        bounded.load_state_dict(mlp.state_dict())
        x = torch.randn(5, 4, generator=generator(1))
        torch.testing.assert_close(bounded(x), mlp(x).sigmoid())

    def test_takes_activations_by_name(self):
        mlp = randomize_parameters(FeedForward(4, 6, 2, num_layers=2, activation="gelu"), generator())
        x = torch.randn(5, 4, generator=generator(1))
        torch.testing.assert_close(mlp(x), mlp.proj_out(F.gelu(mlp.proj_in(x))))


def test_layer_norm_2d_normalises_the_channels_of_each_position():
    norm = LayerNorm2d(8, eps=1e-6)
    x = 3 + 2 * torch.randn(2, 8, 5, 7, generator=generator())
    normed = norm(x)
    assert normed.shape == x.shape
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros(2, 5, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.var(dim=1, unbiased=False), torch.ones(2, 5, 7), atol=1e-4, rtol=0)


class TestAttention:
    @pytest.mark.parametrize("kind", ["none", "boolean", "additive"])
    def test_eager_equals_sdpa(self, kind):
        query, key, value = heads(5, 7, 7)
        mask = {
            "none": None,
            "boolean": torch.rand(2, 1, 5, 7, generator=generator(1)) > 0.3,
            "additive": torch.randn(2, 1, 5, 7, generator=generator(1)),
        }[kind]
        result, weights = eager_attention(attention_module(), query, key, value, mask, scaling=0.4)
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.4)
        torch.testing.assert_close(result, expected.transpose(1, 2))
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_softmax_runs_in_float32(self, dtype):
        query, key, value = (x.to(dtype) for x in heads(5, 7, 7))
        _, weights = eager_attention(attention_module(), query, key, value, None, scaling=0.4)
        expected = (query @ key.transpose(-2, -1) * 0.4).float().softmax(-1).to(dtype)
        assert weights.dtype == dtype
        assert torch.equal(weights, expected)

    def test_dropout_is_for_training_alone(self):
        query, key, value = heads(5, 7, 7)
        module = attention_module()
        plain, _ = attend(module, query, key, value, scaling=0.5)
        evaluated, _ = attend(module, query, key, value, scaling=0.5, dropout=0.5)
        trained, _ = attend(module.train(), query, key, value, scaling=0.5, dropout=0.5)
        assert torch.equal(evaluated, plain)
        assert not torch.equal(trained, plain)

    @pytest.mark.parametrize("implementation", [None, "sdpa", "eager"])
    def test_implementation_is_the_configured_one(self, implementation):
        query, key, value = heads(5, 7, 7)
        result, weights = attend(attention_module(implementation), query, key, value, scaling=0.5)
        expected = F.scaled_dot_product_attention(query, key, value, scale=0.5).transpose(1, 2)
        torch.testing.assert_close(result, expected)
        assert weights is None

    def test_weights_on_request_whatever_the_implementation(self):
        query, key, value = heads(5, 7, 7)
        _, weights = attend(attention_module("sdpa"), query, key, value, scaling=0.5, need_weights=True)
        torch.testing.assert_close(weights, (query @ key.transpose(-2, -1) * 0.5).softmax(-1))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_additive_mask_may_have_another_precision(self, dtype):
        query, key, value = (x.to(dtype) for x in heads(5, 7, 7))
        mask = torch.randn(2, 1, 5, 7, generator=generator(1), dtype=torch.float64)
        result, _ = attend(attention_module("sdpa"), query, key, value, scaling=0.5, mask=mask)
        torch.testing.assert_close(
            result.float(),
            eager_attention(attention_module(), query, key, value, mask.to(dtype), scaling=0.5)[0].float(),
            atol=1e-2 if dtype == torch.bfloat16 else 1e-5,  # bfloat16 has 8 bits of precision
            rtol=0,
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("learns", [True, False])
    def test_half_precision_learns_on_a_cpu_without_the_slow_backward_pass(self, dtype, learns):
        query, key, value = (x.to(dtype).requires_grad_(learns) for x in heads(5, 7, 7))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            result, _ = attend(attention_module("sdpa"), query, key, value, scaling=0.5)
        fused = any("scaled_dot_product" in event.key for event in profiled.key_averages())
        assert fused == (dtype == torch.float32 or not learns)
        expected = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), scale=0.5).transpose(1, 2)
        torch.testing.assert_close(result.float(), expected, atol=2e-2 if dtype == torch.bfloat16 else 1e-5, rtol=0)

    @pytest.mark.parametrize("kind", ["nothing", "boolean", "additive"])
    def test_half_precision_learns_the_same_as_spelled_out_in_float32(self, kind):
        mask = torch.rand(2, 1, 5, 7, generator=generator(1)) < 0.7 if kind == "boolean" else None
        if kind == "additive":
            mask = torch.randn(2, 1, 5, 7, generator=generator(1))
        gradients = []
        for dtype, implementation in ((torch.bfloat16, "sdpa"), (torch.float32, "eager")):
            inputs = [x.to(dtype).requires_grad_() for x in heads(5, 7, 7)]
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                result, _ = attend(attention_module(implementation), *inputs, scaling=0.5, mask=mask)
            gradients.append(torch.autograd.grad(result.float().square().sum(), inputs))
        for half, full in zip(*gradients, strict=True):
            # 8 bits of precision, through two products and a softmax
            torch.testing.assert_close(half.float(), full, atol=0.03 * full.abs().max().item(), rtol=0)

    def test_half_precision_drops_weights_in_training_alone(self):
        inputs = [x.to(torch.bfloat16).requires_grad_() for x in heads(5, 7, 7)]
        module = attention_module("sdpa").eval()
        plain, _ = attend(module, *inputs, scaling=0.5)
        assert torch.equal(attend(module, *inputs, scaling=0.5, dropout=0.5)[0], plain)
        assert not torch.equal(attend(module.train(), *inputs, scaling=0.5, dropout=0.5)[0], plain)

    def test_many_scores_stay_with_the_fused_form_even_so(self, monkeypatch):
        monkeypatch.setattr("sam2_hf.fast.attention.MOST_SCORES", 34)
        query, key, value = (x.to(torch.bfloat16).requires_grad_() for x in heads(5, 7, 7))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            attend(attention_module("sdpa"), query, key, value, scaling=0.5)
        assert any("scaled_dot_product" in event.key for event in profiled.key_averages())


class TestFlash:
    """A stand-in for flash kernels, which run on GPUs alone: it marks its results and takes no mask."""

    @pytest.fixture
    def calls(self, monkeypatch):
        calls = []

        def flash(module, query, key, value, attention_mask, **kwargs):
            assert attention_mask is None
            calls.append(kwargs)
            return torch.full_like(query.transpose(1, 2), 7.0), None

        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_stand_in", flash)
        return calls

    def test_registered_function_is_called_where_it_can_be(self, calls):
        result, _ = attend(attention_module("flash_stand_in"), *heads(5, 7, 7), scaling=0.5)
        assert (result == 7).all()
        assert calls == [{"scaling": 0.5, "dropout": 0.0, "is_causal": False}]

    def test_mask_falls_back_to_sdpa_for_this_call(self, calls):
        mask = torch.rand(2, 1, 5, 7, generator=generator(1)) > 0.3
        inputs = heads(5, 7, 7)
        result, _ = attend(attention_module("flash_stand_in"), *inputs, scaling=0.5, mask=mask)
        expected, _ = attend(attention_module("sdpa"), *inputs, scaling=0.5, mask=mask)
        assert torch.equal(result, expected)
        assert calls == []

    def test_weights_fall_back_to_eager_for_this_call(self, calls):
        inputs = heads(5, 7, 7)
        result, weights = attend(attention_module("flash_stand_in"), *inputs, scaling=0.5, need_weights=True)
        torch.testing.assert_close(result, attend(attention_module("eager"), *inputs, scaling=0.5)[0])
        assert weights is not None
        assert calls == []


class TestPromptAttention:
    BATCH, PROMPTS, TOKENS, PLACES, WIDTH = 2, 3, 4, 9, 32

    @pytest.fixture(params=["sdpa", "eager"])
    def attention(self, request):
        config = tiny_config().mask_decoder_config
        config._attn_implementation = request.param
        return randomize_parameters(PromptAttention(config), generator()).eval()

    def inputs(self, length, prompts=None, seed=0):
        prompts = self.PROMPTS if prompts is None else prompts
        return torch.randn(self.BATCH, prompts, length, self.WIDTH, generator=generator(seed))

    def expanded(self, shared):
        return shared.expand(-1, self.PROMPTS, -1, -1)

    def token_mask(self):
        mask = torch.rand(self.BATCH, self.PROMPTS, 1, self.PLACES, generator=generator(3)) > 0.3
        mask[..., 0] = True
        return mask

    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("need_weights", [False, True])
    @torch.no_grad()
    def test_shared_keys_equal_keys_repeated_for_each_prompt(self, attention, masked, need_weights):
        query, shared = self.inputs(self.TOKENS, seed=1), self.inputs(self.PLACES, prompts=1, seed=2)
        mask = self.token_mask() if masked else None
        result, weights = attention(query, shared, shared + 1, mask, need_weights)
        key = self.expanded(shared)
        expected, expected_weights = attention(query, key, key + 1, mask, need_weights=True)
        assert_close_in_scale(result, expected)
        if need_weights:
            assert weights.shape == (self.BATCH, self.PROMPTS, 2, self.TOKENS, self.PLACES)
            assert_close_in_scale(weights, expected_weights)

    @torch.no_grad()
    def test_shared_queries_equal_queries_repeated_for_each_prompt(self, attention):
        shared, key = self.inputs(self.TOKENS, prompts=1, seed=1), self.inputs(self.PLACES, seed=2)
        result, _ = attention(shared, key, key, self.token_mask())
        expected, _ = attention(self.expanded(shared), key, key, self.token_mask())
        assert result.shape == (self.BATCH, self.PROMPTS, self.TOKENS, self.WIDTH)
        assert_close_in_scale(result, expected)

    @torch.no_grad()
    def test_masked_keys_might_as_well_not_be_there(self, attention):
        query, key = self.inputs(self.TOKENS, seed=1), self.inputs(self.PLACES, seed=2)
        mask = (torch.arange(self.PLACES) < 5).expand(1, 1, 1, -1)
        result, _ = attention(query, key, key, mask)
        expected, _ = attention(query, key[:, :, :5], key[:, :, :5])
        assert_close_in_scale(result, expected)

    @torch.no_grad()
    def test_prompts_do_not_see_each_other(self, attention):
        query, key = self.inputs(self.TOKENS, seed=1), self.inputs(self.PLACES, seed=2)
        result, _ = attention(query, key, key)
        for prompt in range(self.PROMPTS):
            alone = slice(prompt, prompt + 1)
            expected, _ = attention(query[:, alone], key[:, alone], key[:, alone])
            assert_close_in_scale(result[:, alone], expected)

    def test_inner_width_follows_the_rate(self):
        config = tiny_config().mask_decoder_config
        assert PromptAttention(config).q_proj.out_features == 16
        assert PromptAttention(config, downsample_rate=1).q_proj.out_features == 32
        assert PromptAttention(config).scaling == pytest.approx(8**-0.5)


class TestSineEncoding:
    def test_says_y_first_then_x_from_low_to_high_periods(self):
        encoding = sine_position_encoding((3, 5), 8)
        assert encoding.shape == (1, 8, 3, 5)
        y, x = 2 / 3 * 2 * math.pi, 4 / 5 * 2 * math.pi
        expected = [f(angle / period) for angle in (y, x) for period in (1, 100) for f in (math.sin, math.cos)]
        torch.testing.assert_close(encoding[0, :, 1, 3], torch.tensor(expected), atol=1e-5, rtol=0)

    def test_each_half_depends_on_one_axis_alone(self):
        encoding = sine_position_encoding((4, 6), 16)[0]
        assert torch.equal(encoding[:8], encoding[:8, :, :1].expand(-1, -1, 6))
        assert torch.equal(encoding[8:], encoding[8:, :1, :].expand(-1, 4, -1))

    def test_half_precision_is_rounded_at_the_end(self):
        expected = sine_position_encoding((4, 64), 16).to(torch.bfloat16)
        assert torch.equal(sine_position_encoding((4, 64), 16, dtype=torch.bfloat16), expected)
