"""What is measured: `Case`, the registry of all cases, and what a case is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from .sides.base import Side

Group = Literal["quick", "full", "gpu"]
Output = dict[str, "torch.Tensor"]


class Unavailable(Exception):
    """A side cannot do a piece of work here; the message says what is missing."""


@dataclass(frozen=True)
class Place:
    """Where and how a contender computes.

    `compiled` names a preset of `model.compile`; `plain` turns our fast forms of the arithmetic off.
    """

    device: str = "cpu"
    dtype: str = "float32"
    compiled: str | None = None
    plain: bool = False
    threads: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Place:
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """What a case is given: a side, a checkpoint folder, a picture (None: a drawn one) and a place."""

    side: Side
    weights: Path
    picture: Path | None
    place: Place
    image_size: int


@dataclass(frozen=True)
class Job:
    """Work that is ready to run.

    `run` is what is timed, and may be called again and again. `read` turns what it returned into tensors, to be
    compared between sides. `state` is what is held from one run to the next, if anything. `peak` reads the memory
    that a run had from what it returned, where a run is a process of its own.
    """

    run: Callable[[], Any]
    read: Callable[[Any], Output] = field(default=dict)
    state: object = None
    peak: Callable[[Any], int] | None = None


@dataclass(frozen=True)
class Case:
    """A piece of work.

    Runs are repeated up to `runs` times, but no more are begun after `seconds` once there are `least_runs`. `warm_up`
    runs come first and do not count. With `measures_growth`, what counts is how much more is held from run to run.
    """

    name: str
    title: str
    prepare: Callable[[Bench], Job]
    groups: frozenset[Group]
    sides: tuple[str, ...] = ("ours", "transformers", "official")
    preset: str = "sam2.1-hiera-tiny"
    image_size: int = 1024
    warm_up: int = 1
    least_runs: int = 3
    runs: int = 9
    seconds: float = 60.0
    measures_growth: bool = False


CASES: dict[str, Case] = {}


def register(case: Case) -> None:
    """Adds a case; its name must be new."""
    if case.name in CASES:
        raise ValueError(f"there are two cases named {case.name!r}")
    CASES[case.name] = case


def groups(*names: Group) -> frozenset[Group]:
    """In which runs of the command a case takes part."""
    return frozenset(names)
