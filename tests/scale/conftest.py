from __future__ import annotations

import pytest
from tiny_checkpoint import save_tiny_checkpoint

pytest.importorskip("pyarrow")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A small random checkpoint that segments images and tracks."""
    return str(save_tiny_checkpoint(tmp_path_factory.mktemp("scale") / "tiny", video=True))
