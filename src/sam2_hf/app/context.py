"""What the tabs share: the models, the people, the limits, and how a request becomes an answer."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..hub.bundled import BUNDLED_NAME, bundled_checkpoint
from ..predictors.segmenter import Segmenter
from ..predictors.tracker import Tracker
from .people import Person, PersonStore
from .stage import Message
from .uploads import Limits

logger = logging.getLogger(__name__)

_FAULTS = (ValueError, TypeError, LookupError, OSError)  # what a person can mend; others are bugs
_numbers = itertools.count(1)


@dataclass
class AppContext:
    """What the app runs with.

    Args:
        checkpoint: a folder or a name on the Hub; None for the bundled one.
        device: where the model runs; None for a GPU where there is one.
        dtype: of its weights; None for that of the checkpoint.
        image_size: of the model's input, (height, width); None for that of the checkpoint.
        limits: of uploads.
        people: who is at the page.
    """

    checkpoint: str | None = None
    device: str | None = None
    dtype: str | None = None
    image_size: tuple[int, int] | None = None
    limits: Limits = field(default_factory=Limits)
    people: PersonStore = field(default_factory=PersonStore)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The model for images, loaded when it is first used."""
        return Segmenter(self.checkpoint, self.device, self.dtype, self.image_size)

    @cached_property
    def tracker(self) -> Tracker:
        """The model for clips and cameras, loaded when it is first used."""
        return Tracker(self.checkpoint, self.device, self.dtype, self.image_size)

    @property
    def is_bundled(self) -> bool:
        """Whether it runs with the bundled checkpoint."""
        return self.checkpoint is None or str(self.checkpoint) == bundled_checkpoint()

    @property
    def model_name(self) -> str:
        """What the page calls the checkpoint: no path of this machine."""
        if self.checkpoint is None or self.is_bundled:
            return f"{BUNDLED_NAME} (bundled)"
        return Path(self.checkpoint).name if os.path.isdir(self.checkpoint) else self.checkpoint

    @contextmanager
    def person(self, token: str | None) -> Iterator[Person]:
        """Find a person, and keep their other requests waiting meanwhile.

        Raises:
            KeyError: they are gone.
        """
        person = self.people.get(token)
        with person.lock:
            yield person

    def answer(self, token: str | None, make: Callable[[Person], Message]) -> Message:
        """Answer a request of a person.

        Args:
            token: the person's id.
            make: does what is asked for, and describes what is there afterwards.

        Returns:
            The message; one with `error` in it where the request cannot be met.
        """
        try:
            with self.person(token) as person:
                return numbered(make(person))
        except _FAULTS as error:
            return numbered({"error": explain(error)})


def numbered(message: Message) -> Message:
    """Give a message a number of its own: the page sees that it is new even where it says the same."""
    return {**message, "answer": next(_numbers)}


def explain(error: Exception) -> str:
    """Say in one line what is wrong, without paths of this machine."""
    if isinstance(error, OSError):
        logger.warning("a request failed: %s", error)
        return "the file cannot be read"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split())[:300] or type(error).__name__


def number(value: Any, what: str) -> float:
    """Check a number that the page sent.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError(f"{what} must be a number, got {value!r}")
    return float(value)


def whole(value: Any, what: str) -> int:
    """Check a whole number that the page sent.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{what} must be a whole number, got {value!r}")
    return value
