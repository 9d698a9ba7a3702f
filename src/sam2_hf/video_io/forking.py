"""What becomes of an open video in a forked process.

A child of `os.fork` (a worker of a `DataLoader`, of `multiprocessing`) has copies of all objects, but not the threads
that work on them, and its files share their positions with those of the parent. Every open source is told, so that it
starts over with files, decoders and locks of its own.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that has to start over in a forked process."""

    def after_fork(self) -> None:
        """Give up what belongs to the parent. Runs in the child, before anything else does."""


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()


def tell_after_fork(item: Forkable) -> None:
    """Have `item.after_fork` called in every forked process, for as long as `item` lives."""
    _known.add(item)


def never_free(item: object) -> None:
    """Keep an object for the life of the process. Freeing a decoder waits for its threads, which a child lacks."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))


def _tell_all() -> None:
    for item in list(_known):
        item.after_fork()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_tell_all)
