"""Checkpoints of images with three channels as models of images with another number of channels."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import nn

ChannelInit = Literal["mean", "zero"]


def trunk_config(config: Any) -> Any:
    """The part of a configuration that says how many channels images have, of a model or of one of its parts."""
    for name in ("vision_config", "backbone_config"):
        config = getattr(config, name, config)
    return config


def check_channel_init(channel_init: Any) -> None:
    """Check what weights of new channels start from.

    Raises:
        ValueError: for anything but the values of `ChannelInit` and None.
    """
    names = get_args(ChannelInit)
    if channel_init is not None and channel_init not in names:
        raise ValueError(f"channel_init must be one of {', '.join(map(repr, names))}, got {channel_init!r}")


@torch.no_grad()
def fit_input_channels(model: nn.Module, num_channels: int, channel_init: ChannelInit) -> None:
    """Give a model another number of channels of images, in place.

    With "mean", the first channels keep their weights, those beyond have their mean, and all are scaled so that images
    whose channels are equal are encoded as before; fewer channels than before all have the mean. With "zero", channels
    beyond those of before have weights of 0, so images are encoded as before whatever is in them.

    Args:
        model: of this package, of any kind that takes pixels.
        num_channels: at least 1.
        channel_init: what the weights of new channels are made of.

    Raises:
        ValueError: no whole number from 1; "zero" with fewer channels than before; a trunk that does not start with
            one convolution.
    """
    if not isinstance(num_channels, int) or isinstance(num_channels, bool) or num_channels < 1:
        raise ValueError(f"num_channels must be a whole number and at least 1, got {num_channels!r}")
    part = trunk_config(model.config)
    before = part.num_channels
    if num_channels == before:
        return
    if channel_init == "zero" and num_channels < before:
        raise ValueError(
            f'channel_init="zero" adds channels: num_channels must be at least {before}, got {num_channels}; '
            'use channel_init="mean"'
        )
    layer = _first_convolution(model)
    weights = layer.weight.float()
    mean = weights.mean(dim=1, keepdim=True)
    if num_channels < before:
        fitted = mean.expand(-1, num_channels, -1, -1)
    else:
        new = mean if channel_init == "mean" else torch.zeros_like(mean)
        fitted = torch.cat([weights, new.expand(-1, num_channels - before, -1, -1)], dim=1)
    if channel_init == "mean":
        fitted = fitted * (before / num_channels)
    trained = layer.weight.requires_grad
    layer.weight = nn.Parameter(fitted.to(layer.weight.dtype).contiguous(), requires_grad=trained)
    layer.in_channels = num_channels
    part.num_channels = num_channels


def _first_convolution(model: Any) -> nn.Conv2d:
    """The layer that pixels go through first."""
    embedding = model.get_input_embeddings()
    found = [layer for layer in embedding.modules() if isinstance(layer, nn.Conv2d)]
    if len(found) != 1 or found[0].groups != 1:
        raise ValueError(
            "num_channels can be changed where pixels go through one convolution first, but "
            f"{type(embedding).__name__} has {len(found)}"
        )
    return found[0]
