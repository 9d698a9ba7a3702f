"""What happens before and after the model: pictures to pixels, logits to masks of the picture's size."""

from __future__ import annotations

from functools import partial

import torch

from ..case import Bench, Case, Job, groups, register
from ..pictures import load_picture


def preprocess(bench: Bench) -> Job:
    """A picture resized and normalised."""
    run = partial(bench.side.preprocess(bench.weights), load_picture(bench.picture))
    return Job(run, read=lambda pixels: {"pixels": pixels})


def restore(bench: Bench) -> Job:
    """The masks of 16 clicks, three each, at the picture's size."""
    picture = load_picture(bench.picture)
    coarse = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.interpolate(coarse, size=(256, 256), mode="bicubic")
    run = partial(bench.side.restore(bench.weights), logits, (picture.height, picture.width))
    return Job(run, read=lambda masks: {"masks": masks.flatten(0, 1)})


register(Case("preprocess", "picture to pixels", preprocess, groups("quick", "full"), runs=31, seconds=20))
register(Case("restore", "48 masks to the picture's size", restore, groups("quick", "full"), runs=9, seconds=20))
