"""Ctrl-C while frames or images are computed: what is begun is finished, and what is finished is written."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import typer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, a first Ctrl-C (or SIGTERM) asks to stop after what is being computed; a second stops at once.

    Attributes:
        wanted: whether to stop.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # no other thread may listen to signals
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        typer.echo("\nstopping after this one; again to stop at once", err=True)
