"""What belongs to one person at the page, kept under an id that cannot be guessed, for a while."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ..results.image_result import ImageResult
from .clip_work import ClipWork
from .everything_work import EverythingWork
from .image_work import ImageWork
from .live_work import LiveWork
from .stage import Sender


class Person:
    """The work of one person, and a folder for their files. `lock` keeps their requests in a row."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.image: ImageWork | None = None
        self.everything: EverythingWork | None = None
        self.shown_everything: ImageResult | None = None  # instead of the objects
        self.clip: ClipWork | None = None
        self.live: LiveWork | None = None
        self.senders = {tab: Sender() for tab in ("image", "clip", "live")}
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """A folder that only this person's files are in; made when it is first needed."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sam2_app_"))
        return self._folder

    def close(self) -> None:
        """Stop what runs, and remove the files."""
        if self.clip is not None:
            self.clip.close()
        self.image = self.everything = self.shown_everything = self.clip = self.live = None
        self.senders.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class PersonStore:
    """The people at the page. Those who are too old go, and those who were away for longest when there are too many.

    Args:
        most: how many people are kept.
        max_age: seconds after which one who has not been seen goes.
        clock: gives seconds.
    """

    def __init__(self, most: int = 32, max_age: float = 3600.0, clock: Callable[[], float] = time.monotonic):
        if most < 1 or max_age <= 0:
            raise ValueError(f"most must be at least 1 and max_age positive, got {most} and {max_age}")
        self._most, self._max_age, self._clock = most, max_age, clock
        self._people: OrderedDict[str, tuple[float, Person]] = OrderedDict()  # those not seen for longest first
        self._lock = threading.Lock()

    def new(self) -> str:
        """Make room for a person.

        Returns:
            The id.
        """
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._people[token] = (self._clock(), Person())
            gone = self._take_out_old()
        _close(gone)
        return token

    def get(self, token: str | None) -> Person:
        """Find a person, who counts as seen now.

        Raises:
            KeyError: there is none of that id, or not any more.
        """
        with self._lock:
            gone = self._take_out_old()
            found = self._people.get(token or "")
            if found is not None:
                self._people[token or ""] = (self._clock(), found[1])
                self._people.move_to_end(token or "")
        _close(gone)
        if found is None:
            raise KeyError("this page was left for too long and its work is gone: reload it")
        return found[1]

    def forget(self, token: str | None) -> None:
        """Remove a person and their files; nothing happens where there is none."""
        with self._lock:
            found = self._people.pop(token or "", None)
        if found is not None:
            found[1].close()

    def remove_old(self) -> None:
        """Remove those who are too old; `new` and `get` do it as well."""
        with self._lock:
            gone = self._take_out_old()
        _close(gone)

    def close(self) -> None:
        """Remove everybody."""
        for token in list(self._people):
            self.forget(token)

    def __len__(self) -> int:
        return len(self._people)

    def _take_out_old(self) -> list[Person]:
        oldest = self._clock() - self._max_age
        gone = []
        while self._people:
            seen, person = next(iter(self._people.values()))
            if seen >= oldest and len(self._people) <= self._most:
                break
            self._people.popitem(last=False)
            gone.append(person)
        return gone


def _close(people: list[Person]) -> None:
    for person in people:
        person.close()
