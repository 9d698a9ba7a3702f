"""The implementations of SAM 2 that are compared, each called through the same few methods."""

from __future__ import annotations

from .base import Side
from .hub import Ours, Transformers
from .official import Official

SIDES: dict[str, Side] = {side.name: side for side in (Ours(), Transformers(), Official())}
