"""The settings of everything mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral

from .admission import AdmissionRule


@dataclass(frozen=True)
class EverythingSettings:
    """How objects are found, kept and lost.

    Attributes:
        every: frames between two searches for new objects.
        max_objects: how many are tracked at once, at most.
        patience: frames for which an object that is out of sight is still tracked. After that it is lost: it is looked
            for in each search alone, and goes on under its name when it is found.
        max_lost: how many lost objects are remembered, those that were visible last.
        objects_per_chunk: how many are computed together; memory grows with it, results do not depend on it.
        rule: what is a new object.

    Raises:
        ValueError: a number that is not whole or too small.
    """

    every: int = 10
    max_objects: int = 100
    patience: int = 20
    max_lost: int = 50
    objects_per_chunk: int = 32
    rule: AdmissionRule = field(default_factory=AdmissionRule)

    def __post_init__(self) -> None:
        least = {"every": 1, "max_objects": 1, "patience": 0, "max_lost": 0, "objects_per_chunk": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < smallest:
                raise ValueError(f"{name} must be a whole number of at least {smallest}, got {value!r}")
