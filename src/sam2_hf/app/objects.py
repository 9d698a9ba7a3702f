"""Objects that a person names: each with a number, a name and a colour, which it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..masks.drawing import Colour, palette

MOST_OBJECTS = 24
_LONGEST_NAME = 40


@dataclass(frozen=True)
class NamedObject:
    """An object.

    Attributes:
        number: what tells it from others, from 1; never given twice.
        name: unique among the objects.
        colour: RGB, 0 to 255.
    """

    number: int
    name: str
    colour: Colour


@dataclass(frozen=True)
class ObjectList:
    """The objects, and which of them prompts go to. Changes give a new list, so that an old one can be returned to.

    Attributes:
        objects: in the order in which they came.
        active: the number of the one that prompts go to; None where the next prompt makes a new one.
        given: how many numbers were given so far.
    """

    objects: tuple[NamedObject, ...] = ()
    active: int | None = None
    given: int = 0

    def added(self) -> ObjectList:
        """Add an object, which becomes the active one.

        Raises:
            ValueError: there are too many.
        """
        if len(self.objects) >= MOST_OBJECTS:
            raise ValueError(f"at most {MOST_OBJECTS} objects: remove one first")
        number = self.given + 1
        made = NamedObject(number, self._free_name(f"object {number}"), palette(number)[-1])
        return ObjectList((*self.objects, made), number, number)

    def without(self, number: int) -> ObjectList:
        """Remove an object; the one that came last becomes active."""
        left = tuple(item for item in self.objects if item.number != self[number].number)
        return replace(self, objects=left, active=left[-1].number if left else None)

    def with_active(self, number: int | None) -> ObjectList:
        """Choose the object that prompts go to."""
        return replace(self, active=None if number is None else self[number].number)

    def renamed(self, number: int, name: str) -> ObjectList:
        """Give an object another name.

        Raises:
            ValueError: it is empty, or another object has it.
        """
        wanted = " ".join(name.split())[:_LONGEST_NAME]
        if not wanted:
            raise ValueError("a name has at least one letter")
        if any(item.name == wanted and item.number != number for item in self.objects):
            raise ValueError(f"another object has the name '{wanted}'")
        changed = replace(self[number], name=wanted)
        return replace(self, objects=tuple(changed if item.number == number else item for item in self.objects))

    def names(self) -> dict[int, str]:
        """The names by the objects' numbers."""
        return {item.number: item.name for item in self.objects}

    def colours(self) -> dict[str, Colour]:
        """The colours by the objects' names."""
        return {item.name: item.colour for item in self.objects}

    def __getitem__(self, number: int) -> NamedObject:
        """Find an object by its number.

        Raises:
            KeyError: there is none.
        """
        for item in self.objects:
            if item.number == number:
                return item
        raise KeyError(f"there is no object {number}")

    def _free_name(self, name: str) -> str:
        taken: Sequence[str] = [item.name for item in self.objects]
        while name in taken:
            name += "'"
        return name
