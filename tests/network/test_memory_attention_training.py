"""Memory attention in training, in half precision and compiled."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from memory_attention_cases import POSITIONS, attention_of, config_of, inputs_of


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
