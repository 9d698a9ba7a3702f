"""Models and drawings that the tests of the app share. None of them needs gradio."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_hf import Segmenter, Tracker, bundled_checkpoint
from sam2_hf.demo.world import CLIP, World, draw_image, videos


@pytest.fixture(scope="session")
def segmenter():
    return Segmenter(bundled_checkpoint())


@pytest.fixture(scope="session")
def tracker():
    return Tracker(bundled_checkpoint())


@pytest.fixture(scope="session")
def world():
    """An image, and a point on each of its objects."""
    return draw_image()


@pytest.fixture(scope="session")
def moving():
    """The first frames of a clip, and a point on each object of the first one."""
    rendered = videos(objects=(3, 4))[CLIP].render(range(4))
    visible = rendered.masks[0][rendered.visible[0]]
    return World(rendered.frames, [middle(mask) for mask in visible])


def middle(mask):
    """The pixel (x, y) of a mask (height, width) that is nearest to the mean of all."""
    pixels = np.argwhere(mask)
    y, x = pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()]
    return int(x), int(y)
