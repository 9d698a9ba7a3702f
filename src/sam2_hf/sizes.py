"""Sizes of images as a person writes them, read in one way everywhere. Needs neither torch nor NumPy, so that the
configuration may use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

Size = tuple[int, int]  # (height, width)

# Coordinates are float32, which tells neighbouring pixels apart up to here.
LONGEST_SIDE = 2**24


def read_size(size: Any, name: str) -> Size:
    """Read the size of an image.

    Args:
        size: (height, width) as list, tuple, array or tensor; one number for a square; or anything with "height" and
            "width", as entries or attributes. Whole numbers of every library are taken. Floats are taken for a mistake,
            but for whole ones in arrays and tensors, which have one dtype for all their numbers.
        name: what an error calls the argument.

    Returns:
        (height, width) in pixels, as plain integers.

    Raises:
        ValueError: another form; a side that is not a whole number from 1 to `LONGEST_SIDE`; a bool.
    """
    if type(size) in (list, tuple) and [*map(type, size)] == [int, int] and 0 < min(size) <= max(size) <= LONGEST_SIDE:
        return size[0], size[1]  # as most are; this is asked in every frame
    given = _sides(size)
    pair = _pair(given if isinstance(given, list) else [given, given])
    if pair is None:
        raise ValueError(
            f"{name} must be a positive int or a pair (height, width) of them, or "
            f'{{"height": …, "width": …}}, in pixels up to {LONGEST_SIDE}, got {size!r}'
        )
    return pair


def read_sizes(sizes: Any, name: str = "original_sizes") -> list[Size]:
    """Read the sizes of several images.

    Args:
        sizes: (height, width) of each image, nested in lists, tuples, arrays or tensors.
        name: what an error calls the argument.

    Returns:
        (height, width) of each image in pixels, as plain integers.

    Raises:
        ValueError: other nesting, no size, or a side that is not a whole number from 1 to `LONGEST_SIDE`.
    """
    plain = _plain(sizes)
    pairs = plain if isinstance(plain, list) else []
    if not pairs or not all(isinstance(pair, list) for pair in pairs):
        got = f"a size alone, {sizes!r}" if _pair(plain) is not None else repr(sizes)
        raise ValueError(f"{name} must hold (height, width) of each image, for example [(1200, 1800)]; got {got}")
    result = []
    for index, given in enumerate(pairs):
        pair = _pair(given)
        if pair is None:
            raise ValueError(
                f"{name}[{index}] must be two positive whole numbers (height, width), each up to {LONGEST_SIDE}, "
                f"got {given}"
            )
        result.append(pair)
    return result


def _sides(size: Any) -> Any:
    """The numbers of a size, in a list if there are several."""
    if isinstance(size, Mapping):
        return [_plain(size.get("height")), _plain(size.get("width"))]
    if hasattr(size, "height") and hasattr(size, "width"):  # transformers' SizeDict
        return [_plain(size.height), _plain(size.width)]
    return _plain(size)


def _plain(value: Any, in_array: bool = False) -> Any:
    """Arrays, tensors and tuples as lists, their numbers as Python's; whole floats of arrays as ints."""
    if hasattr(value, "tolist"):
        value, in_array = value.tolist(), True
    if isinstance(value, (list, tuple)):
        return [_plain(item, in_array) for item in value]
    return int(value) if in_array and isinstance(value, float) and value.is_integer() else value


def _pair(sides: Any) -> Size | None:
    """(height, width) of two numbers that can be sides, None for anything else."""
    if not isinstance(sides, list) or len(sides) != 2 or not all(map(_is_side, sides)):
        return None
    return int(sides[0]), int(sides[1])


def _is_side(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) <= LONGEST_SIDE
