"""The switch between fast and plain forms, and what it means for a whole model."""

from __future__ import annotations

import inspect
import threading

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import tiny_image_model, tiny_video_model
from torch import nn
from video_scenes import prompted, track

from sam2_hf.fast import dispatch
from sam2_hf.fast.conditions import may_read_weights
from sam2_hf.network import (
    fpn_neck,
    hiera,
    layers,
    losses,
    mask_decoder,
    memory_attention,
    two_way_transformer,
)


def test_fast_forms_are_on_and_come_back_after_an_error():
    assert dispatch.enabled()
    with pytest.raises(RuntimeError), dispatch.plain_paths():
        assert not dispatch.enabled()
        with dispatch.plain_paths():
            pass
        assert not dispatch.enabled()
        raise RuntimeError
    assert dispatch.enabled()


@pytest.mark.parametrize("multimask", [True, False])
def test_a_model_gives_the_same_masks_either_way(multimask: bool):
    model, generator = tiny_image_model(), torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 128, 128, generator=generator)
    points = torch.rand(2, 3, 1, 2, generator=generator) * 128
    with torch.inference_mode():
        fast = model(pixels, points, multimask_output=multimask)
        with dispatch.plain_paths():
            plain = model(pixels, points, multimask_output=multimask)
    assert not torch.equal(fast.pred_masks, plain.pred_masks)  # they were computed differently
    assert_close_in_scale(fast.pred_masks, plain.pred_masks, 1e-5)
    assert_close_in_scale(fast.iou_scores, plain.iou_scores, 1e-5)


class Adapter(nn.Module):
    """A layer with something of its own on top, which shows the layer's weights, as LoRA's modules do."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    weight = property(lambda self: self.layer.weight)
    bias = property(lambda self: self.layer.bias)
    out_features = property(lambda self: self.layer.out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.5 * self.layer(x)


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "o_proj", "upscale_conv1"])
def test_what_adapters_add_is_not_passed_over(name: str):
    model = tiny_image_model()
    for path, layer in list(model.mask_decoder.named_modules()):
        parent, _, leaf = path.rpartition(".")
        if leaf == name:
            setattr(model.mask_decoder.get_submodule(parent), leaf, Adapter(layer))
    points, pixels = torch.full((1, 2, 1, 2), 40.0), torch.zeros(1, 3, 128, 128)
    with torch.inference_mode():
        embeddings = model.get_image_embeddings(pixels)
        masks = model(image_embeddings=embeddings, input_points=points).pred_masks
        with dispatch.plain_paths():
            plain = model(image_embeddings=embeddings, input_points=points).pred_masks
    assert_close_in_scale(masks, plain, 1e-5)


def test_layers_are_plain_or_replaced():
    assert may_read_weights(nn.Linear(2, 2), nn.ConvTranspose2d(2, 2, 2))
    assert not may_read_weights(nn.Linear(2, 2), Adapter(nn.Linear(2, 2)))
    assert not may_read_weights(nn.LazyLinear(2))  # its own class, as those of quantised layers


class Wrapped(torch.Tensor):
    """Stands for the weights of quantised layers, which know few operations."""


@pytest.mark.parametrize("change", ["tensor", "hook", "forward", "elsewhere", "function"])
def test_weights_that_are_not_plain_are_not_read(change: str):
    layer = nn.Linear(2, 2)
    assert may_read_weights(layer)
    if change == "tensor":
        layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Wrapped), requires_grad=False)
    elif change == "hook":
        layer.register_forward_hook(lambda *_: None)
    elif change == "forward":
        layer.forward = lambda hidden: hidden
    elif change == "elsewhere":
        layer.to("meta")
    else:  # as quantize_dynamic has it
        layer = nn.Module()
        layer.weight = lambda: None
    assert not may_read_weights(layer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_video_model_tracks():
    quantised = torch.ao.quantization.quantize_dynamic(tiny_video_model(), {nn.Linear}, dtype=torch.qint8)
    masks = track(quantised, prompted((0, "a"), num_frames=3))
    with dispatch.plain_paths():
        expected = track(quantised, prompted((0, "a"), num_frames=3))
    for frame, by_object in expected.items():
        assert ((masks[frame]["a"] > 0) == (by_object["a"] > 0)).float().mean() > 0.98


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_model_gives_way_to_the_plain_form():
    model = tiny_image_model()
    points, pixels = torch.full((1, 2, 1, 2), 40.0), torch.zeros(1, 3, 128, 128)
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with torch.inference_mode():
        masks = quantised(pixels, points).pred_masks
        expected = model(pixels, points).pred_masks
    assert masks.shape == expected.shape and masks.isfinite().all()
    assert ((masks > 0) == (expected > 0)).float().mean() > 0.8


def test_the_switch_is_that_of_a_thread():
    seen: list[bool] = []
    with dispatch.plain_paths():
        thread = threading.Thread(target=lambda: seen.append(dispatch.enabled()))
        thread.start()
        thread.join()
        assert not dispatch.enabled()
    assert seen == [True]


def test_the_table_names_replaceable_functions_alone():
    """A form under a wrong name would never be used."""
    modules = [losses, layers, hiera, fpn_neck, two_way_transformer, mask_decoder, memory_attention]
    for name, form in dispatch.FORMS.items():
        owner, _, method = name.rpartition(".")
        (module,) = [module for module in modules if vars(module).get(owner or method, None) is not None][-1:]
        function = getattr(getattr(module, owner), method) if owner else getattr(layers, method)
        assert function.__wrapped__.__qualname__ == name
        plain, suits, run = (list(inspect.signature(one).parameters) for one in (function, form.suits, form.run))
        assert plain[1:] == suits[1:] == run[1:], name
