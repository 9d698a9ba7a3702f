"""Nested, ragged numbers to padded rectangles, with errors that name the argument and the position in it.

Lists, tuples, arrays and tensors may be mixed at will. The caller's values are never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import is_tensor
from .plain_values import plain_array, plain_tensor


class Layout(NamedTuple):
    """How an argument is nested: images, objects, and entries of numbers.

    Attributes:
        name: of the argument.
        levels: what each level of nesting enumerates.
        width: numbers of an entry; None for single numbers.
        example: of the nesting, for errors.
        one_entry: whether the level of entries is left out, as each object has at most one.
    """

    name: str
    levels: tuple[str, ...]
    width: int | None
    example: str
    one_entry: bool = False

    @property
    def depth(self) -> int:
        return len(self.levels)

    def spell(self, image: int, index: int, entry: int, number: int = 0) -> str:
        """Write an index of the padded rectangle as the caller would.

        Args:
            image: its number.
            index: of the object.
            entry: of the point, label or box.
            number: of the coordinate.
        """
        indices = [image, index]
        indices += [] if self.one_entry else [entry]
        indices += [] if self.width is None else [number]
        return spell(self.name, indices)


class Padded(NamedTuple):
    """One argument as a rectangle. Each object holds entries: points, labels, or at most one box."""

    values: np.ndarray  # (images, objects, entries, width), float64
    entries: np.ndarray  # (images, objects), how many entries are real
    objects: np.ndarray  # (images,), how many objects are real


def pad_nested(value: Any, layout: Layout, pad_value: float) -> Padded:
    """Check the nesting of one argument and pad it.

    None and empty lists stand for an image without objects or an object without entries.

    Args:
        value: nested lists, tuples, arrays and tensors.
        layout: how they must be nested.
        pad_value: what is put where there is nothing.

    Raises:
        TypeError: something that is no number, list, array or tensor.
        ValueError: another depth or width than the layout has, no object at all, NaN or infinity.
    """
    plain = to_plain(value, layout.name)
    _check_depth(plain, layout)
    if isinstance(plain, np.ndarray) and plain.size and layout.width in (None, plain.shape[-1]):
        values = plain.astype(np.float64).reshape(*plain.shape[:2], -1, layout.width or 1)
        images, objects, entries, _ = values.shape  # already a rectangle: no loop
        padded = Padded(values, np.full((images, objects), entries), np.full(images, objects))
    else:
        padded = _pad_rows(_object_rows(plain, layout), layout, pad_value)
    for position in np.argwhere(~np.isfinite(padded.values)):
        got = padded.values[tuple(position)]
        raise ValueError(f"{layout.spell(*position)} must be a finite number, got {got}")
    return padded


def widen(padded: Padded, objects: int, pad_value: float) -> Padded:
    """Pad to a number of objects.

    Args:
        padded: with at most that many.
        objects: in every image afterwards.
        pad_value: what is put where there is nothing.
    """
    missing = objects - padded.values.shape[1]
    values = np.pad(padded.values, [(0, 0), (0, missing), (0, 0), (0, 0)], constant_values=pad_value)
    return padded._replace(values=values, entries=np.pad(padded.entries, [(0, 0), (0, missing)]))


def to_plain(value: Any, name: str) -> Any:
    """Make tensors and rectangular lists arrays, and tuples lists; the lists are new.

    Args:
        value: nested lists, tuples, arrays and tensors.
        name: what an error calls it.

    Raises:
        TypeError: what holds no numbers.
        ValueError: an int that no float can hold, or a list that contains itself.
    """
    return _to_plain(value, name, ())


def _to_plain(value: Any, name: str, around: tuple[int, ...]) -> Any:
    """`around` are the identities of the lists that the value lies in."""
    if is_tensor(value):
        value = plain_tensor(value, name).cpu()
        return _no_bools((value.double() if value.is_floating_point() else value).numpy(), name)
    if isinstance(value, (list, tuple)):
        if id(value) in around:
            raise ValueError(f"{name} must be nested numbers, got a list that contains itself")
        rectangle = _as_rectangle(value)
        if rectangle is not None:
            return _no_bools(rectangle, name)
        return [_to_plain(item, f"{name}[{index}]", (*around, id(value))) for index, item in enumerate(value)]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _to_plain(value.tolist(), name, around)
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must hold numbers, got {bool(value)}")
    if isinstance(value, int):
        return _float_of(value, name)
    if isinstance(value, (float, np.integer, np.floating)):
        return value
    if isinstance(value, np.ndarray):
        return _no_bools(plain_array(value, name), name)
    raise TypeError(f"{name} must hold numbers in lists, arrays or tensors, got {type(value).__name__}")


def _no_bools(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind == "b":
        raise TypeError(f"{name} must hold numbers, got bools")
    return array


def _float_of(value: int, name: str) -> int | float:
    """An int of Python, which may be longer than any float."""
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a finite number, got an int of {value.bit_length()} bits") from None
    return value


def _as_rectangle(value: list[Any] | tuple[Any, ...]) -> np.ndarray | None:
    """Numbers in even lists at once, which numpy does some ten times faster than a loop; None for anything else."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # uneven; or tensors that numpy cannot see
        return None
    return array if array.dtype.kind in "iuf" and _holds_only_numbers(value) else None


def _holds_only_numbers(value: list[Any] | tuple[Any, ...]) -> bool:
    """Whether lists hold nothing but lists and numbers: numpy would take a bool, a range or a masked array for some."""
    return all(
        _holds_only_numbers(item) if isinstance(item, (list, tuple)) else type(item) in (int, float) for item in value
    )


def number_depths(value: Any, level: int = 0) -> set[int]:
    """Find the depths of nesting at which numbers stand.

    Args:
        value: as `to_plain` gives it.
        level: the depth of the value itself.

    Returns:
        One depth where the nesting is even, none where there are but empty lists.
    """
    if value is None:
        return set()
    if isinstance(value, np.ndarray):
        return {level + value.ndim} if value.size else set()
    if isinstance(value, list):
        return set().union(*(number_depths(item, level + 1) for item in value))
    return {level}


def spell(name: str, indices: Sequence[int]) -> str:
    """Write a position as Python does, ``name[0][1]``."""
    return name + "".join(f"[{index}]" for index in indices)


def _check_depth(plain: Any, layout: Layout) -> None:
    depths = number_depths(plain)
    if depths == {layout.depth} or (not depths and _list_depth(plain) <= layout.depth):
        return
    given = " and ".join(map(str, sorted(depths))) or str(_list_depth(plain))
    where = ""
    if len(depths) > 1:
        position = next(position for position in _number_positions(plain) if len(position) != layout.depth)
        where = f", first at {spell(layout.name, position)}"
    raise ValueError(
        f"{layout.name} must be nested {layout.depth} deep ({', '.join(layout.levels)}), "
        f"for example {layout.example}; got {given} deep{where}"
    )


def _list_depth(value: Any) -> int:
    """How many lists deep a value without numbers goes."""
    if isinstance(value, np.ndarray):
        return value.ndim
    return 1 + max(map(_list_depth, value), default=0) if isinstance(value, list) else 0


def _number_positions(value: Any, position: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Indices of every number, in reading order; of an array only the first."""
    if isinstance(value, np.ndarray):
        if value.size:
            yield position + (0,) * value.ndim
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _number_positions(item, (*position, index))
    elif value is not None:
        yield position


def _items(value: Any) -> Any:
    return [] if value is None else value


def _object_rows(plain: Any, layout: Layout) -> list[list[np.ndarray]]:
    """For each object of each image its entries, (entries, width)."""
    return [
        [_rows_of_object(entry, layout, image, index) for index, entry in enumerate(_items(objects))]
        for image, objects in enumerate(_items(plain))
    ]


def _rows_of_object(entry: Any, layout: Layout, image: int, index: int) -> np.ndarray:
    found = _items(entry)
    if len(found) == 0:
        return np.empty((0, layout.width or 1))
    if layout.width is None:
        if not _are_numbers(found):
            raise ValueError(f"{spell(layout.name, [image, index])} must hold {layout.levels[-1]} alone, got {found}")
        return np.asarray(found, dtype=np.float64)[:, None]
    rows = [found] if layout.one_entry else found
    for number, row in enumerate(rows):
        if len(_items(row)) != layout.width or not _are_numbers(row):
            position = [image, index] if layout.one_entry else [image, index, number]
            got = [_listed(item) for item in _items(row)]
            where = spell(layout.name, position)
            raise ValueError(f"{where} must be {layout.width} numbers {layout.levels[-1]}, got {len(got)}: {got}")
    return np.asarray([np.asarray(row, dtype=np.float64) for row in rows])


def _are_numbers(row: Any) -> bool:
    return all(np.ndim(item) == 0 and item is not None for item in row)


def _listed(item: Any) -> Any:
    return item.tolist() if hasattr(item, "tolist") else item


def _pad_rows(rows: list[list[np.ndarray]], layout: Layout, pad_value: float) -> Padded:
    objects = np.array([len(image) for image in rows], dtype=np.int64)
    if not objects.any():
        what = "no object" if len(rows) else "no image"
        raise ValueError(f"{layout.name} is empty, it holds {what}: expected for example {layout.example}")
    entries = np.zeros((len(rows), objects.max()), dtype=np.int64)
    for image, found in enumerate(rows):
        entries[image, : len(found)] = [len(entry) for entry in found]
    longest = max(1, entries.max())  # where no object has any, one of padding stands for them
    values = np.full((*entries.shape, longest, layout.width or 1), float(pad_value))
    for image, found in enumerate(rows):
        for index, entry in enumerate(found):
            values[image, index, : len(entry)] = entry
    return Padded(values, entries, objects)
