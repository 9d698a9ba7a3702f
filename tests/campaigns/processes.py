"""Forked children that are ended, that tell what they found, and that do not hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any


def fork(work: Callable[[], Any]) -> int:
    """Runs `work` in a child that ends without the parent's clean-up; its process id."""
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(0)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int) -> int:
    """How a child ended: 0 for well, the number of the signal that killed it as a negative number."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def in_child(work: Callable[[], Any], seconds: float = 60) -> Any:
    """What `work` returns in a forked child.

    Raises:
        TimeoutError: it hangs.
        RuntimeError: it failed there.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def tell() -> None:
        sender.send(work())

    child = fork(tell)
    sender.close()
    try:
        if not receiver.poll(seconds):
            os.kill(child, signal.SIGKILL)
            raise TimeoutError(f"a child did not answer within {seconds} s")
        return receiver.recv()
    except EOFError as error:
        raise RuntimeError("a child failed; its error stands above") from error
    finally:
        receiver.close()
        ended(child)
