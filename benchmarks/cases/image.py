"""Pictures: encoding one, a click on it, many prompts at once."""

from __future__ import annotations

from functools import partial

import torch

from ..case import Bench, Case, Job, groups, register
from ..pictures import as_pixels, load_picture

_OFFICIAL_LIMIT = 32.0  # the official predictor hands out logits within it


def pixels_for(bench: Bench) -> torch.Tensor:
    """The picture as the model takes it."""
    pixels = as_pixels(load_picture(bench.picture), bench.image_size)
    return pixels.to(bench.place.device, getattr(torch, bench.place.dtype))


def points_for(bench: Bench, count: int) -> torch.Tensor:
    """Points (count, 2), spread over the picture, the same for every side."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 2, generator=generator) * (bench.image_size - 1)).to(bench.place.device)


def encode(bench: Bench) -> Job:
    """One picture through the encoder."""
    model, pixels = bench.side.image_model(bench.weights, bench.place), pixels_for(bench)
    return Job(partial(bench.side.encode, model, pixels), read=lambda encoded: {})


def prompt(bench: Bench, count: int) -> Job:
    """`count` single clicks on a picture that is encoded already."""
    model = bench.side.image_model(bench.weights, bench.place)
    encoded = bench.side.encode(model, pixels_for(bench))
    run = partial(bench.side.segment, model, encoded, points_for(bench, count))
    return Job(run, read=lambda output: {**output, "logits": output["logits"].clamp(-_OFFICIAL_LIMIT, _OFFICIAL_LIMIT)})


register(Case("encode", "image encoding", encode, groups("quick", "full"), runs=9))
register(Case("click", "one click, encoded image", partial(prompt, count=1), groups("quick", "full"), runs=31))
register(Case("prompts-64", "64 clicks, encoded image", partial(prompt, count=64), groups("quick", "full"), runs=7))
