"""Upscaling in the order of blocks equals upscaling map by map."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from closeness import assert_close_in_scale
from torch import nn

from sam2_hf.fast import mask_decoder
from sam2_hf.fast.mask_decoder import upscale as upscale_in_bands
from sam2_hf.network.mask_decoder import upscale

WIDTH = 16


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    doublings = (
        nn.ConvTranspose2d(WIDTH, WIDTH // 2, kernel_size=2, stride=2),
        nn.ConvTranspose2d(WIDTH // 2, WIDTH // 4, kernel_size=2, stride=2),
    )
    return doublings, nn.LayerNorm(WIDTH // 2)


@pytest.mark.parametrize("bands", ["one", "a row each"])
@pytest.mark.parametrize(("height", "width"), [(3, 3), (2, 5), (1, 4)])
@pytest.mark.parametrize(("leading", "fine_leading"), [((4,), (1,)), ((4,), (4,)), ((2, 3), (2, 1)), ((2, 3), (1, 1))])
def test_both_orders_give_the_same_masks(monkeypatch, layers, height, width, leading, fine_leading, bands):
    if bands == "a row each":
        monkeypatch.setattr(mask_decoder, "how_many_rows", lambda rows, width: 1)
    generator = torch.Generator().manual_seed(height * width)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    hidden, kernels = draw(*leading, height, width, WIDTH), draw(*leading, 4, WIDTH // 4)
    fine = (
        draw(*fine_leading, WIDTH // 2, 2 * height, 2 * width),
        draw(*fine_leading, WIDTH // 4, 4 * height, 4 * width),
    )
    (first, second), norm = layers
    decoder = SimpleNamespace(
        upscale_conv1=first, upscale_conv2=second, upscale_layer_norm=norm, mask_kernels=lambda kernels: kernels
    )
    with torch.no_grad():
        expected = upscale(hidden, fine, *layers, kernels)
        masks = upscale_in_bands(decoder, hidden, kernels, (fine[1], fine[0]))
    assert masks.shape == (*leading, 4, 4 * height, 4 * width)
    assert_close_in_scale(masks, expected, 1e-5)
