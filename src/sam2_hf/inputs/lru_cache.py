"""The cache of what was used last: frames of a video, features of a frame."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """The entries last used, at most `size` of them. Safe to share between threads.

    Args:
        size: how many entries are kept.
        name: what an error calls `size`.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, size: int, name: str = "size"):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
        self.size = size
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """Look an entry up, which counts as using it; None if it is not there."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Store an entry and drop those not used for longest."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)

    def copy(self) -> LruCache[Key, Value]:
        """Copy the cache; the entries are shared."""
        copied = LruCache[Key, Value](self.size)
        with self._lock:
            copied._entries = self._entries.copy()
        return copied

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Key]:
        """The keys, those not used for longest first; looking does not count as using."""
        with self._lock:
            return iter(list(self._entries))

    def __contains__(self, key: Key) -> bool:
        return key in self._entries
