"""The processors: images to pixels, and logits to masks of the image's size."""

from __future__ import annotations

from functools import partial

import torch

from ..case import Bench, Case, Job, groups, register
from ..images import load_image


def preprocess(bench: Bench) -> Job:
    """Resizes and normalises an image."""
    run = partial(bench.implementation.preprocess(bench.weights), load_image(bench.image))
    return Job(run, read=lambda pixels: {"pixels": pixels})


def restore(bench: Bench) -> Job:
    """Resizes the masks of 16 clicks, three each, to the image's size."""
    image = load_image(bench.image)
    coarse = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.interpolate(coarse, size=(256, 256), mode="bicubic")
    run = partial(bench.implementation.restore(bench.weights), logits, (image.height, image.width))
    return Job(run, read=lambda masks: {"masks": masks.flatten(0, 1)})


register(Case("preprocess", "image to pixels", preprocess, groups("quick", "full"), runs=31, seconds=20))
register(Case("restore", "48 masks to the image's size", restore, groups("quick", "full"), runs=9, seconds=20))
