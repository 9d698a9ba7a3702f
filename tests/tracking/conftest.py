"""Sessions that several test files save."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_sessions import tracked_clip

from sam2_hf.tracking.session import Sam2VideoInferenceSession


@pytest.fixture(scope="module")
def tracked_once() -> Sam2VideoInferenceSession:
    """For tests that do not change it."""
    return tracked_clip()


@pytest.fixture
def saved(tracked_once: Sam2VideoInferenceSession, tmp_path: Path) -> Path:
    tracked_once.save(tmp_path)
    return tmp_path
