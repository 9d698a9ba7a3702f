"""Images: encoding, one click, and many clicks at once."""

from __future__ import annotations

from functools import partial

import torch

from ..case import Bench, Case, Job, groups, register
from ..images import as_pixels, load_image

_OFFICIAL_LIMIT = 32.0  # the official predictor clamps logits to it


def pixels_for(bench: Bench) -> torch.Tensor:
    """The model's input (1, 3, image_size, image_size)."""
    pixels = as_pixels(load_image(bench.image), bench.image_size)
    return pixels.to(bench.runtime.device, getattr(torch, bench.runtime.dtype))


def points_for(bench: Bench, count: int) -> torch.Tensor:
    """Points (count, 2), spread over the image, the same for every implementation."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 2, generator=generator) * (bench.image_size - 1)).to(bench.runtime.device)


def encode(bench: Bench) -> Job:
    """Encodes one image."""
    model, pixels = bench.implementation.image_model(bench.weights, bench.runtime), pixels_for(bench)
    return Job(partial(bench.implementation.encode, model, pixels), read=lambda encoded: {})


def prompt(bench: Bench, count: int) -> Job:
    """Decodes `count` single clicks on an encoded image, an object each."""
    model = bench.implementation.image_model(bench.weights, bench.runtime)
    encoded = bench.implementation.encode(model, pixels_for(bench))
    run = partial(bench.implementation.segment, model, encoded, points_for(bench, count))
    return Job(run, read=lambda output: {**output, "logits": output["logits"].clamp(-_OFFICIAL_LIMIT, _OFFICIAL_LIMIT)})


register(Case("encode", "image encoding", encode, groups("quick", "full"), runs=9))
register(Case("click", "one click, encoded image", partial(prompt, count=1), groups("quick", "full"), runs=31))
register(Case("prompts-64", "64 clicks, encoded image", partial(prompt, count=64), groups("quick", "full"), runs=7))
