"""One of several paths along which a policy follows an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class MemoryPath(NamedTuple):
    """What a path has passed.

    Attributes:
        visible: the last frames that can be read as recent memories, the one passed last first.
        numbers: by which number a frame's result has the path; 0 for frames that are not named.
    """

    visible: tuple[int, ...]
    numbers: Mapping[int, int]
