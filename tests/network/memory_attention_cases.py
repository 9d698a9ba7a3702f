"""A small memory attention and its inputs."""

from __future__ import annotations

import torch
from tiny import randomize_parameters, tiny_config

from sam2_hf.network.memory_attention import MemoryAttention

RECTANGLE = {"image_size": (64, 96)}  # a map of 4 rows and 6 columns
POSITIONS = 24


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
