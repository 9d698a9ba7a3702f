"""What campaigns share: seeds that are printed and can be set, how much is tried, and a file of figures."""

from __future__ import annotations

import json
import os
import platform
import secrets
import signal
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SEED = int(os.environ.get("SAM2_CAMPAIGN_SEED") or secrets.randbelow(2**31))
SCALE = float(os.environ.get("SAM2_CAMPAIGN_SCALE") or 1)
FIGURES = Path(os.environ.get("SAM2_CAMPAIGN_FIGURES") or "outputs/campaigns.json")


class Campaign:
    """One campaign: its random numbers, its length, its figures.

    A failure prints the seed with it. With the same seed and scale, the same is tried again.
    """

    def __init__(self, name: str):
        self.name = name
        self.seed = SEED
        self.figures: dict[str, Any] = {}
        self._begun = time.monotonic()

    def count(self, full: int) -> int:
        """How often something is tried, where the whole campaign tries it `full` times."""
        return max(1, round(full * SCALE))

    def rng(self, index: int = 0) -> np.random.Generator:
        """Random numbers of the `index`-th trial, which can be repeated alone."""
        return np.random.default_rng([self.seed, zlib.crc32(self.name.encode()), index])

    def record(self, **figures: Any) -> None:
        """Keep figures; each is written to the file when the campaign has passed."""
        self.figures.update(figures)

    @contextmanager
    def at_most(self, seconds: int, what: str) -> Iterator[None]:
        """Fail if something takes longer, which a program would take for a hang."""

        def fail(*_: Any) -> None:
            raise TimeoutError(f"{what} took more than {seconds} s")

        before = signal.signal(signal.SIGALRM, fail)
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    def write(self) -> None:
        """Add the figures to the file."""
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
        seconds = round(time.monotonic() - self._begun, 1)
        known[self.name] = {**self.figures, "seed": SEED, "scale": SCALE, "seconds": seconds, **machine}
        FIGURES.write_text(json.dumps(known, indent=2) + "\n")


def say(text: str) -> None:
    """Shown with a failure, and with -s as it comes."""
    sys.stdout.write(text + "\n")


def pytest_report_header() -> str:
    return f"campaigns: SAM2_CAMPAIGN_SEED={SEED} SAM2_CAMPAIGN_SCALE={SCALE:g}, figures in {FIGURES}"


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """The campaign of this test; its figures are written if the test passes."""
    running = Campaign(request.node.name.removeprefix("test_"))
    say(f"\n{running.name}: SAM2_CAMPAIGN_SEED={SEED}")
    failed = request.session.testsfailed
    yield running
    if request.session.testsfailed == failed:
        running.write()
        say(f"{running.name}: {running.figures}")
