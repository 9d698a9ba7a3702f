"""`Case`, the registry of all cases, and the arguments that a case gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .settings import Output, Runtime

if TYPE_CHECKING:
    from .implementations.base import Implementation

Group = Literal["quick", "full", "gpu"]


@dataclass(frozen=True)
class Bench:
    """The arguments of a case.

    Args:
        implementation: what to call.
        weights: checkpoint folder.
        image: file; None for a drawn image.
        runtime: device, dtype and threads.
        image_size: side of the model's input in pixels.
    """

    implementation: Implementation
    weights: Path
    image: Path | None
    runtime: Runtime
    image_size: int


@dataclass(frozen=True)
class Job:
    """Work that is ready to run.

    Args:
        run: the timed function; it is called repeatedly.
        read: turns the result of `run` into tensors, which are compared between implementations.
        state: object that lives from run to run; its tensors count as held memory.
        peak: reads the peak memory in bytes from the result of `run`, where a run is a process of its own.
    """

    run: Callable[[], Any]
    read: Callable[[Any], Output] = field(default=dict)
    state: object = None
    peak: Callable[[Any], int] | None = None


@dataclass(frozen=True)
class Case:
    """A piece of work.

    Args:
        name: unique name, for `--only`.
        title: description for the tables.
        prepare: loads the model and makes the input.
        groups: runs of the command that include the case.
        implementations: names of those that can do the work.
        preset: architecture of the checkpoint.
        image_size: side of the model's input in pixels.
        warm_up: runs that do not count, before the others.
        least_runs: runs that are made however long they take.
        runs: the most runs.
        seconds: no run starts later than this, once there are `least_runs`.
        measures_growth: whether the case measures the memory that each run adds, instead of time.
    """

    name: str
    title: str
    prepare: Callable[[Bench], Job]
    groups: frozenset[Group]
    implementations: tuple[str, ...] = ("ours", "transformers", "official")
    preset: str = "sam2.1-hiera-tiny"
    image_size: int = 1024
    warm_up: int = 1
    least_runs: int = 3
    runs: int = 9
    seconds: float = 60.0
    measures_growth: bool = False


CASES: dict[str, Case] = {}


def register(case: Case) -> None:
    """Adds a case to the registry.

    Raises:
        ValueError: if there is a case of that name.
    """
    if case.name in CASES:
        raise ValueError(f"there are two cases named {case.name!r}")
    CASES[case.name] = case


def groups(*names: Group) -> frozenset[Group]:
    """The runs of the command that include a case."""
    return frozenset(names)
