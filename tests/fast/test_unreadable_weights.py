"""Models whose weights are tensors of another kind, as those of quantised layers: fast forms give way to plain ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from closeness import assert_close_in_scale
from prompt_tensors import boxes_for, masks_for, pixels, points_for
from tiny import tiny_image_model, tiny_video_model
from torch import Tensor, nn
from video_scenes import prompted, track

from sam2_hf.fast import dispatch

# What a fast form does with the weights of a layer, and a layer itself does not.
_READING = {
    Tensor.T.__get__,
    Tensor.mT.__get__,
    Tensor.t,
    Tensor.transpose,
    Tensor.permute,
    Tensor.flatten,
    Tensor.unflatten,
    Tensor.reshape,
    Tensor.expand,
    Tensor.matmul,
    Tensor.__matmul__,
    Tensor.__getitem__,
}


class Packed(Tensor):
    """A weight that layers can use and nobody can take apart."""

    @classmethod
    def __torch_function__(
        cls, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in _READING:
            raise NotImplementedError(f"{function} of a packed weight")
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **(kwargs or {}))
        return result.as_subclass(cls) if function is Tensor.detach else result


def packed(model: nn.Module) -> nn.Module:
    """The model with packed weights in all linear layers and convolutions."""
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Packed), requires_grad=False)
    return model


def test_packed_weights_cannot_be_taken_apart():
    layer = packed(nn.Linear(2, 2))
    assert type(layer.weight) is Packed and type(layer(torch.ones(1, 2))) is Tensor
    for read in (lambda: layer.weight.T, lambda: layer.weight.flatten(1), lambda: torch.ones(1, 2) @ layer.weight):
        with pytest.raises(NotImplementedError, match="packed"):
            read()


@pytest.mark.parametrize(
    "inputs", [points_for(1, 3, 2), boxes_for(1, 2), masks_for(1)], ids=["points", "boxes", "masks"]
)
@torch.no_grad()
def test_an_image_model_gives_what_the_plain_form_gives(inputs):
    output = packed(tiny_image_model())(pixels(), **inputs)
    with dispatch.plain_paths():
        expected = tiny_image_model()(pixels(), **inputs)
    # Forms that read no weights are still used: the same up to rounding.
    assert_close_in_scale(output.pred_masks, expected.pred_masks, 1e-4)
    assert_close_in_scale(output.iou_scores, expected.iou_scores, 1e-4)


def test_a_video_model_gives_what_the_plain_form_gives():
    masks = track(packed(tiny_video_model()), prompted((0, "a"), num_frames=3))
    with dispatch.plain_paths():
        expected = track(tiny_video_model(), prompted((0, "a"), num_frames=3))
    assert masks.keys() == expected.keys() and len(masks) == 3
    for frame, by_object in expected.items():
        assert_close_in_scale(masks[frame]["a"], by_object["a"], 1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
def test_models_quantised_by_torchao(name):
    quantization = pytest.importorskip("torchao.quantization")
    image, video = tiny_image_model(), tiny_video_model()
    for model in (image, video):
        quantization.quantize_(model, getattr(quantization, name)())
    with torch.no_grad():
        output = image(pixels(), **points_for(1, 3, 2))
        expected = tiny_image_model()(pixels(), **points_for(1, 3, 2))
    assert ((output.pred_masks > 0) == (expected.pred_masks > 0)).float().mean() > 0.9
    masks = track(video, prompted((0, "a"), num_frames=3))
    assert all(by_object["a"].isfinite().all() for by_object in masks.values()) and len(masks) == 3
