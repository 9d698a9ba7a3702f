"""What work on an image and on a clip share: a list of objects, and steps that can be taken back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, TypeVar

from .history import History
from .objects import ObjectList

Box = tuple[float, float, float, float]
Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class WorkState:
    """What a step changes. A state is not changed; a step makes another.

    Attributes:
        objects: the objects.
    """

    objects: ObjectList = field(default_factory=ObjectList)


State = TypeVar("State", bound=WorkState)


class UndoableWork(ABC, Generic[State]):
    """Objects that prompts go to. It knows nothing of the browser.

    Args:
        state: the first state.
        longest: how many states can be returned to.
    """

    ground: ClassVar[str]
    """What prompts lie on, for messages: image or frame."""

    def __init__(self, state: State, longest: int):
        self._state = state
        self._history: History[State] = History(longest)

    @property
    @abstractmethod
    def size(self) -> Size:
        """(height, width) in pixels."""

    @abstractmethod
    def is_prompted(self, number: int) -> bool:
        """Whether an object has been prompted."""

    @property
    def objects(self) -> ObjectList:
        """The objects."""
        return self._state.objects

    @property
    def can_undo(self) -> bool:
        """Whether a step can be taken back."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether a step that was taken back can be taken again."""
        return self._history.can_redo

    def add_object(self) -> None:
        """Make a new object, which the next prompts go to. One that is still empty is used again."""
        for item in self.objects.objects:
            if not self.is_prompted(item.number):
                self._change(replace(self._state, objects=self.objects.with_active(item.number)))
                return
        self._change(replace(self._state, objects=self.objects.added()))

    def select(self, number: int) -> None:
        """Choose the object that the next prompts go to; this is not a step to undo."""
        self._state = replace(self._state, objects=self.objects.with_active(number))

    def rename(self, number: int, name: str) -> None:
        """Give an object another name; see `ObjectList.renamed`."""
        self._change(replace(self._state, objects=self.objects.renamed(number, name)))

    def undo(self) -> None:
        """Take back the last step, with what it changed in the masks."""
        self._go_to(self._history.undo(self._state))

    def redo(self) -> None:
        """Take the step again that was taken back last."""
        self._go_to(self._history.redo(self._state))

    def _change(self, state: State) -> None:
        self._history.leave(self._state)
        self._state = state

    def _go_to(self, state: State) -> None:
        self._state = state

    def _with_active(self) -> tuple[ObjectList, int]:
        """The objects with one that prompts go to, and its number."""
        objects = self.objects.added() if self.objects.active is None else self.objects
        assert objects.active is not None
        return objects, objects.active

    def _read_point(self, x: float, y: float, label: int, number: int) -> tuple[float, float]:
        """Check a point that an object is prompted with."""
        self._check_inside(x, y)
        if label == 0 and not self.is_prompted(number):
            raise ValueError("the first point must be on the object; the next ones may be on the background")
        return float(x), float(y)

    def _read_box(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Check two corners, in any order."""
        self._check_inside(x0, y0)
        self._check_inside(x1, y1)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)

    def _check_inside(self, x: float, y: float) -> None:
        height, width = self.size
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(f"({x:.0f}, {y:.0f}) is outside of the {self.ground} of {width} x {height} pixels")
