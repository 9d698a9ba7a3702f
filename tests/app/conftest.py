"""Models and drawings that the tests of the app share. None of them needs gradio."""

from __future__ import annotations

import pytest

from sam2_hf import Segmenter, Tracker, bundled_checkpoint
from sam2_hf.demo.world import draw_clip, draw_image


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
    drawn = draw_clip()
    return drawn._replace(frames=drawn.frames[:4])
