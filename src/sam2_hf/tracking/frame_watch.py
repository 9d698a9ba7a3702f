"""Waiting for the next frames of live sources, so that no session has to wait for the camera of another."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..video_io.source import VideoSource

_Frames = SimpleQueue  # of frame indices; None ends the thread


class FrameWatch:
    """Has a thread for each source that reads the frame it is asked for, so that the source holds it from then on.

    A thread inside a read that it cannot leave, as of a silent camera, ends with that read. Errors are raised where the
    frame is asked for next.
    """

    def __init__(self) -> None:
        self._asked: dict[Hashable, _Frames] = {}
        self._arrived: SimpleQueue[Hashable] = SimpleQueue()

    def ask(self, key: Hashable, video: VideoSource, frame_idx: int) -> None:
        """Wait for a frame of a source from now on; one at a time for each key."""
        if key not in self._asked:
            self._asked[key] = SimpleQueue()
            arguments = (video, key, self._asked[key], self._arrived)
            threading.Thread(target=_wait, args=arguments, name="frame-watch", daemon=True).start()
        self._asked[key].put(frame_idx)

    def arrived(self, wait: bool) -> set[Hashable]:
        """Take the keys whose frame is there, or cannot come.

        Args:
            wait: whether to wait for one, or for `wake`, if there is none.
        """
        keys: set[Hashable] = set()
        with suppress(Empty):
            keys.add(self._arrived.get(block=wait))
            while True:
                keys.add(self._arrived.get_nowait())
        return keys & self._asked.keys()

    def wake(self) -> None:
        """End the wait of `arrived`, from any thread."""
        self._arrived.put(None)

    def drop(self, key: Hashable) -> None:
        """Wait for a source no more."""
        if key in self._asked:
            self._asked.pop(key).put(None)


def _wait(video: VideoSource, key: Hashable, asked: _Frames, arrived: SimpleQueue[Hashable]) -> None:
    for frame_idx in iter(asked.get, None):
        with suppress(Exception):
            video[frame_idx]
        arrived.put(key)
