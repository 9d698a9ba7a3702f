"""Undo and redo: states that were left, in the order in which they were left."""

from __future__ import annotations

from typing import Generic, TypeVar

State = TypeVar("State")


class History(Generic[State]):
    """The states before and after the one that is current. States are not changed once they are in it.

    Args:
        longest: how many states can be returned to.
    """

    def __init__(self, longest: int):
        self._longest = longest
        self._before: list[State] = []
        self._after: list[State] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a state before."""
        return bool(self._before)

    @property
    def can_redo(self) -> bool:
        """Whether there is a state after."""
        return bool(self._after)

    def leave(self, state: State) -> None:
        """Note that a state was left for a new one. What was undone before cannot be redone then."""
        self._before = [*self._before, state][-self._longest :]
        self._after = []

    def undo(self, current: State) -> State:
        """Return the state before; the current one itself where there is none."""
        if not self._before:
            return current
        self._after.append(current)
        return self._before.pop()

    def redo(self, current: State) -> State:
        """Return the state after; the current one itself where there is none."""
        if not self._after:
            return current
        self._before.append(current)
        return self._after.pop()
