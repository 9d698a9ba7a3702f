"""File names in the order that people expect: frame2 comes before frame10."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
NaturalKey = tuple[list[tuple[int, int, str]], str]


def natural_key(name: str) -> NaturalKey:
    """Sorting key of a name: runs of digits count as numbers, letters without regard to case."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    # A number sorts before text; the name itself decides between "1" and "01".
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts], name


def natural_order(items: Iterable[Item], name_of: Callable[[Item], str] = str) -> list[Item]:
    """Sort items by the numbers and letters in their names.

    Args:
        items: names, or whatever has one.
        name_of: gives the name of an item.

    Returns:
        The items in a new list.
    """
    return sorted(items, key=lambda item: natural_key(name_of(item)))
