"""What the fields of a configuration may be: readers that check a value and give it in one form.

A field is declared as `checked(reader, default)`. The strict data classes of huggingface_hub, which transformers builds
on, check types without converting: they refuse the integers of NumPy and a whole number where a float is meant, and
raise an error of their own kind. A reader takes both and raises a `ValueError` that names the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, fields
from numbers import Integral, Real
from typing import Any

from transformers import PreTrainedConfig, configuration_utils

from .sizes import read_size

MOST_LAYERS = 1000
WIDEST = 2**20

Reader = Callable[[str, Any], Any]
"""Takes the name of a field and a value; returns the value in one form or raises a `ValueError`."""


def require(condition: bool, message: str) -> None:
    """Raise a `ValueError` with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def checked(reader: Reader, default: Any) -> Any:
    """Declare a field of a configuration whose values go through a reader."""
    return field(default=default, metadata={"reader": reader})


def whole(at_least: int = 1, at_most: int = WIDEST) -> Reader:
    """Make a reader of whole numbers in a range, those of NumPy included and bools not."""

    def read(name: str, value: Any) -> int:
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        require(is_whole, f"{name} must be a whole number, got {value!r}")
        require(int(value) >= at_least, f"{name} must be at least {at_least}, got {value!r}")
        require(int(value) <= at_most, f"{name} must be at most {at_most}, got {value!r}")
        return int(value)

    return read


def wholes(at_least: int = 1, at_most: int = WIDEST) -> Reader:
    """Make a reader of lists of whole numbers in a range."""
    read_one = whole(at_least, at_most)

    def read(name: str, value: Any) -> list[int]:
        given = value.tolist() if hasattr(value, "tolist") else value
        require(isinstance(given, (list, tuple)), f"{name} must be a list of whole numbers, got {value!r}")
        return [read_one(f"{name}[{index}]", item) for index, item in enumerate(given)]

    return read


def number(at_least: float = -math.inf, at_most: float = math.inf, above: float = -math.inf) -> Reader:
    """Make a reader of finite numbers in a range, which are floats afterwards."""

    def read(name: str, value: Any) -> float:
        is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        require(is_number, f"{name} must be a finite number, got {value!r}")
        require(value >= at_least, f"{name} must be at least {at_least}, got {value!r}")
        require(value <= at_most, f"{name} must be at most {at_most}, got {value!r}")
        require(value > above, f"{name} must be more than {above}, got {value!r}")
        return float(value)

    return read


def flag(name: str, value: Any) -> bool:
    """Read True or False, those of NumPy included."""
    plain = value.item() if type(value).__module__ == "numpy" else value
    require(isinstance(plain, bool), f"{name} must be True or False, got {value!r}")
    return plain


def activation(name: str, value: Any) -> str:
    """Read the name of an activation function of transformers."""
    from transformers.activations import ACT2FN

    known = isinstance(value, str) and value in ACT2FN
    require(known, f"{name} must be one of {', '.join(sorted(ACT2FN))}, got {value!r}")
    return value


def pair(at_least: int = 1) -> Reader:
    """Make a reader of (height, width) as a list of two; one number stands for both."""
    read_both = wholes(at_least)

    def read(name: str, value: Any) -> list[int]:
        if at_least > 0:
            return list(read_size(value, name))
        both = read_both(name, value if isinstance(value, (list, tuple)) else [value, value])
        require(len(both) == 2, f"{name} must be a whole number or a pair (height, width) of them, got {value!r}")
        return both

    return read


def pair_as_given(at_least: int = 1) -> Reader:
    """Make a reader of (height, width) that leaves the form: one number for both stays one number."""
    read_pair = pair(at_least)

    def read(name: str, value: Any) -> int | list[int]:
        both = read_pair(name, value)
        return both[0] if _is_one_number(value) else both

    return read


def size_as_given(name: str, value: Any) -> int | list[int]:
    """Read the size of an image and leave its form: one number for a square stays one number."""
    height, width = read_size(value, name)
    return height if _is_one_number(value) else [height, width]


def _is_one_number(value: Any) -> bool:
    return not isinstance(value, (list, tuple, dict)) and getattr(value, "ndim", 0) == 0


def shortest_size(name: str, value: Any) -> int | list[int]:
    """Read the size of an image in its shortest form: one number for a square, as published configurations have it."""
    height, width = read_size(value, name)
    return height if height == width else [height, width]


class CheckedConfig(PreTrainedConfig):
    """A configuration whose fields go through their readers, and whose parts are built from what is given."""

    def __post_init__(self, **kwargs: Any) -> None:
        self.read_fields()
        for name, value in (("dtype", self.dtype), ("torch_dtype", kwargs.get("torch_dtype"))):
            _check_dtype(name, value)
        super().__post_init__(**kwargs)
        self.check()

    def read_fields(self) -> None:
        """Give every field its one form. Raises a `ValueError` that names the field for what is none of its values."""
        for one in fields(self):
            reader = one.metadata.get("reader")
            if reader is not None:
                setattr(self, one.name, reader(one.name, getattr(self, one.name)))

    def check(self) -> None:
        """Check the fields and what must hold between them.

        Models do it again, since fields can be set after the configuration was made.

        Raises:
            ValueError: naming the fields.
        """
        self.read_fields()


def _check_dtype(name: str, value: Any) -> None:
    """Refuse what transformers would look up in torch and not find."""
    import torch

    named = getattr(torch, value, None) if isinstance(value, str) else value
    is_known = named is None if value is None else isinstance(named, torch.dtype)
    require(is_known, f"{name} must be a torch dtype or its name, such as 'float32', got {value!r}")


def part_classes(parts: dict[str, type]) -> dict[str, Any]:
    """Describe the parts of a configuration as transformers 5.20 and later want it, which keeps saved files short.

    Older versions read the classes alone.
    """
    describe = getattr(configuration_utils, "SubConfigSpec", None)
    return dict(parts) if describe is None else {name: describe(config_class=part) for name, part in parts.items()}


def build_part(config_class: type[PreTrainedConfig], given: Any, name: str) -> PreTrainedConfig:
    """Make a part of a configuration.

    Args:
        config_class: the class of the part.
        given: a configuration, of which one of the like kind is taken by its values; a dict; or None for defaults.
        name: what an error calls the argument.

    Returns:
        The part; `given` itself if it is of the class.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(given, config_class):
        return given
    require(
        given is None or isinstance(given, (dict, PreTrainedConfig)),
        f"{name} must be a {config_class.__name__} or a dict of its fields, got {given!r}",
    )
    values = given.to_dict() if isinstance(given, PreTrainedConfig) else dict(given or {})
    values.pop("model_type", None)
    return config_class(**values)
