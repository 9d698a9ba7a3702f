"""The command sets up logging for its process; in tests it shares one with others."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def logging_stays_as_it_was() -> Iterator[None]:
    """Undo what a command sets: the level of our logger, and no progress bars."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("sam2_hf")
    level, shows_bars = logger.level, transformers_logging.is_progress_bar_enabled()
    yield
    logger.setLevel(level)
    if shows_bars:
        transformers_logging.enable_progress_bar()
