"""Reading ahead: a thread that keeps a bounded number of items ready for their consumer."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: How long `close` waits for a thread that is inside a read it cannot leave (a silent camera). The thread ends
#: by itself when that read returns.
_JOIN_SECONDS = 5.0


class _Buffer(Generic[Item]):
    """Items on their way from one thread to others. Bounded: a full buffer holds the producer up, or, with
    `drop_oldest`, lets the oldest item go."""

    def __init__(self, depth: int, drop_oldest: bool):
        self._items: deque[Item] = deque()
        self._depth = depth
        self._drop_oldest = drop_oldest
        self._changed = threading.Condition()
        self._finished = False
        self._stopped = False
        self._stop_reason = "frames were asked of a video source that is closed"
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: Item) -> bool:
        """Add an item; False when nobody wants it any more."""
        with self._changed:
            if self._drop_oldest and len(self._items) == self._depth:
                self._items.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._depth)
            if not self._stopped:
                self._items.append(item)
                self._changed.notify_all()
            return not self._stopped

    def take(self) -> Item:
        """The next item; what ended the producer, once everything before that is taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._finished or self._stopped)
            if self._stopped:
                raise ValueError(self._stop_reason)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            raise StopIteration

    def finish(self, error: BaseException | None) -> None:
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def after_fork(self) -> None:
        self._changed = threading.Condition()  # the thread that held the old one may not be here to release it
        self._stopped = True
        self._stop_reason = "frames were being read ahead in the parent process: begin again in this one"

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()


class Prefetcher(Generic[Item]):
    """Iterate over `items` with a thread that stays up to `depth` items ahead.

    Exceptions of `items` reach the consumer in their turn, after the items before them. The thread ends with
    the items, at `close`, or when the prefetcher is dropped; it then closes `items` if they are a generator.
    With `drop_oldest` the thread never waits and the newest items win: right for a live camera alone.
    """

    def __init__(self, items: Iterator[Item], depth: int, *, drop_oldest: bool = False):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self._buffer: _Buffer[Item] = _Buffer(depth, drop_oldest)
        # The thread knows the buffer and not the prefetcher, so that dropping the prefetcher is noticed.
        thread = threading.Thread(target=_fill, args=(self._buffer, items), name="video-prefetch", daemon=True)
        self._finalizer = weakref.finalize(self, _stop, self._buffer, thread)
        thread.start()

    @property
    def dropped(self) -> int:
        """How many items gave way to newer ones."""
        return self._buffer.dropped

    def __iter__(self) -> Prefetcher[Item]:
        return self

    def __next__(self) -> Item:
        return self._buffer.take()

    def close(self) -> None:
        """End the thread; a consumer that waits in another thread gets a ValueError."""
        self._finalizer()

    def after_fork(self) -> None:
        """Give up in a forked process, where the thread does not exist. Taking an item raises ValueError."""
        self._finalizer.detach()
        self._buffer.after_fork()


def _fill(buffer: _Buffer[Item], items: Iterator[Item]) -> None:
    try:
        try:
            for item in items:
                if not buffer.put(item):
                    break
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
    except BaseException as error:  # whatever it is, it belongs to the consumer
        buffer.finish(error)
    else:
        buffer.finish(None)


def _stop(buffer: _Buffer[Item], thread: threading.Thread) -> None:
    buffer.stop()
    # Garbage collection may run this on the very thread it ends.
    if thread is not threading.current_thread() and thread.ident is not None:
        thread.join(_JOIN_SECONDS)
