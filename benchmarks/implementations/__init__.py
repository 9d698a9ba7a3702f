"""The implementations of SAM 2 that are compared, each called through the same few methods."""

from __future__ import annotations

from .base import Implementation
from .hub import Ours, Transformers
from .official import Official

IMPLEMENTATIONS: dict[str, Implementation] = {one.name: one for one in (Ours(), Transformers(), Official())}
