"""Settings of all tests."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings

# Where a failure stops others, property tests try the same examples every time; elsewhere they look for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("repeatable")


def pytest_collection_finish():
    """What is there now stays to the end. A training collects garbage at every step, and need not go through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def fresh_compiler():
    """For tests that count what is compiled: nothing was compiled before, and nothing stays behind."""
    import torch

    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
