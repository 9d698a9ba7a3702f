"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# Where a failure stops others, property tests try the same examples every time; elsewhere they look for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("repeatable")
