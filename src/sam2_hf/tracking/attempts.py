"""Work for several sessions, of which some may fail: an error is the outcome of its session alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def attempt(action: Callable[..., Value], *args: object) -> Value | Exception:
    """Call something, and return what it raises."""
    try:
        return action(*args)
    except Exception as error:
        return error


def attempt_together(
    compute: Callable[[Sequence[Item]], Sequence[Value]], items: Sequence[Item]
) -> list[Value | Exception]:
    """Compute items in one batch; if that fails, in halves, down to those that fail by themselves.

    What is wrong with one item, or too large with all of them, is so the outcome of as few as possible.

    Args:
        compute: gives one value for each of several items, and changes nothing.
        items: any number of them.

    Returns:
        The value of each item, or what was raised for it.
    """
    if not items:
        return []
    try:
        return list(compute(items))
    except Exception as error:
        if len(items) == 1:
            return [error]
    # Not within the handler: the error holds on to what was computed.
    half = len(items) // 2
    return attempt_together(compute, items[:half]) + attempt_together(compute, items[half:])
