"""The threads that read frames ahead, for tests of who ends them."""

from __future__ import annotations

import threading
import time


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name == "video-prefetch"]


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.001)
