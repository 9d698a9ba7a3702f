"""Several clips or cameras at once on one device: each is gone through on a thread of its own, as if it were alone, and
the frames of all of them are computed in one batch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm.auto import tqdm

from ..sizes import Size
from ..tracking.attempts import attempt
from ..tracking.memory.registry import PolicySetting
from ..tracking.schedule import SessionFrame
from .tracker import Tracker, Tracks

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Value = TypeVar("Value")

DEFAULT_TOGETHER = 4


class TogetherTracker:
    """Goes through several clips or cameras at once with one model.

    Args:
        tracker: has the model and opens sessions.
        together: how many clips are gone through at a time; the next one begins when one of them ends.

    Raises:
        ValueError: `together` is below 1.
    """

    def __init__(self, tracker: Tracker, together: int = DEFAULT_TOGETHER):
        if isinstance(together, bool) or not isinstance(together, int) or together < 1:
            raise ValueError(f"together must be an int of at least 1, got {together!r}")
        self.tracker = tracker
        self.together = together

    def track(
        self,
        clips: Sequence[Any],
        prompts: Mapping[Any, Any] | Sequence[Mapping[Any, Any]],
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> list[Tracks | Exception]:
        """Track objects through clips; see `track_together`."""
        given = [prompts] * len(clips) if isinstance(prompts, Mapping) else list(prompts)
        if len(given) != len(clips):
            raise ValueError(f"prompts must be those of each of the {len(clips)} clips, got {len(given)}")
        found: list[Any] = [None] * len(clips)
        with tqdm(disable=not progress, unit="frame") as bar:

            def track(tracker: Tracker, job: tuple[Any, Mapping[Any, Any]]) -> Tracks:
                clip, of_clip = job
                tracks = tracker.begin(clip, of_clip)
                for _ in tracks.steps():
                    bar.update()
                tracks.tracker = self.tracker  # what is corrected later is computed alone
                return tracks

            for number, outcome in self.map(track, list(zip(clips, given, strict=True))):
                found[number] = outcome
        errors = [outcome for outcome in found if isinstance(outcome, Exception)]
        if errors and not return_exceptions:
            raise errors[0]
        return found

    def map(
        self, work: Callable[[Tracker, Item], Value], items: Sequence[Item]
    ) -> Iterator[tuple[int, Value | Exception]]:
        """Do something with each of several clips, on a thread for each of them; the model runs on this one.

        Args:
            work: is called with a tracker and an item. What it tracks with that tracker joins the batch.
            items: any number of them.

        Returns:
            The numbers of the items as they are finished, with what `work` returned or raised.
        """
        return _Batch(self.tracker, self.together).map(work, items)


@dataclass(eq=False)
class _Client:
    """A session that a thread goes through. What has come of it is in `inbox`."""

    session: Any
    direction: Any
    inbox: SimpleQueue[SessionFrame] = field(default_factory=SimpleQueue)


class _Batch:
    """The thread of the model, and those of the clips.

    A clip's thread tells the model's what to do by putting a function into `_events`. A round begins when everybody who
    has got a frame has asked for the next one, so that the sessions stay together.
    """

    def __init__(self, tracker: Tracker, together: int):
        self._tracker = tracker
        self._together = together
        self._schedule = tracker.model.track_together()
        self._events: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._clients: dict[int, _Client] = {}
        self._owing: Counter[_Client] = Counter()  # frames that were handed out and not asked beyond
        self._finished: list[Future[Any]] = []
        self._is_over = False

    def map(self, work: Callable[[Tracker, Any], Value], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """See `TogetherTracker.map`."""
        batched = _BatchedTracker(self._tracker, self)
        with ThreadPoolExecutor(self._together, thread_name_prefix="sam2-clip") as pool:
            futures = {pool.submit(work, batched, item): number for number, item in enumerate(items)}
            for future in futures:
                future.add_done_callback(lambda done: self._tell(partial(self._finished.append, done)))
            try:
                left = len(futures)
                while left:
                    self._serve()
                    while self._finished:
                        future = self._finished.pop(0)
                        left -= 1
                        yield futures[future], attempt(future.result)
            finally:
                self._end(list(futures))

    def propagate(self, session: Any, direction: Any) -> Iterator[Any]:
        """Go through a session on a thread of its own."""
        if self._is_over:
            yield from self._tracker.propagate(session, direction)
            return
        client = _Client(session, direction)
        self._tell(partial(self._register, client))
        try:
            while True:
                frame = client.inbox.get()
                if frame.error is not None:
                    raise frame.error
                if frame.output is None:
                    return
                yield frame.output
                self._tell(partial(self._ask, client))
        finally:
            self._tell(partial(self._leave, client))

    def _tell(self, event: Callable[[], Any]) -> None:
        self._events.put(event)
        self._schedule.wake()

    def _serve(self) -> None:
        """Do what was told, and go on by one frame if nobody has to be waited for."""
        try:
            while True:
                self._events.get_nowait()()
        except Empty:
            pass
        if self._owing or not len(self._schedule):
            if not self._finished:
                self._events.get()()
            return
        for frame in self._schedule.round():
            client = self._clients[id(frame.session)]
            if frame.is_last:
                del self._clients[id(frame.session)]
            else:
                self._owing[client] += 1
            client.inbox.put(frame)

    def _ask(self, client: _Client) -> None:
        self._owing[client] -= 1
        if self._owing[client] <= 0:
            del self._owing[client]

    def _register(self, client: _Client) -> None:
        added = attempt(self._schedule.add, client.session, client.direction)
        if isinstance(added, Exception):
            client.inbox.put(SessionFrame(client.session, error=added))
        else:
            self._clients[id(client.session)] = client

    def _leave(self, client: _Client) -> None:
        self._owing.pop(client, None)
        if self._clients.get(id(client.session)) is client:
            del self._clients[id(client.session)]
            self._schedule.remove(client.session)

    def _end(self, futures: list[Future[Any]]) -> None:
        """Have all threads end, if this is not the end of all of them anyway."""
        error = RuntimeError("tracking together was broken off")
        for future in futures:
            future.cancel()
        while not all(future.done() for future in futures):
            for client in [*self._clients.values()]:
                self._leave(client)
                client.inbox.put(SessionFrame(client.session, error=error))
            self._events.get()()
        self._is_over = True
        self._schedule.close()


class _BatchedTracker(Tracker):
    """A tracker whose passes through clips join a batch."""

    def __init__(self, tracker: Tracker, batch: _Batch):
        self.memory_policy, self.loaded = tracker.memory_policy, tracker.loaded
        self._batch = batch

    def propagate(self, session: Any, direction: Any = "forward", progress: bool = False) -> Iterator[Any]:
        """Go through a session in the batch; without a bar of its own."""
        return self._batch.propagate(session, direction)


def track_together(
    clips: Sequence[Any],
    prompts: Mapping[Any, Any] | Sequence[Mapping[Any, Any]],
    *,
    together: int = DEFAULT_TOGETHER,
    progress: bool = False,
    return_exceptions: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    image_size: int | Size | None = None,
    memory_policy: PolicySetting | None = None,
) -> list[Tracks | Exception]:
    """Track objects through several clips at once: frames and objects of all of them are computed in one batch.

    Each clip gets what `track` gives for it, up to rounding. The model stays loaded for the next call.

    Args:
        clips: each in one of the forms of `track`.
        prompts: those of `track`, for all clips, or a list with those of each.
        together: how many clips are tracked at a time; the next one begins when one of them ends.
        progress: whether a bar counts the frames of all clips.
        return_exceptions: put the error of a clip that cannot be tracked in the place of its tracks. If not, the first
            error is raised when all other clips are tracked.
        checkpoint: as for `track`, like all that follow.
        device: see there.
        dtype: see there.
        image_size: see there.
        memory_policy: see there.

    Returns:
        The tracks of each clip.

    Raises:
        ValueError, TypeError, IndexError: naming what is wrong with the arguments or, without `return_exceptions`, with
            the first clip that cannot be tracked.
    """
    tracker = Tracker(checkpoint, device, dtype, image_size, memory_policy)
    return TogetherTracker(tracker, together).track(clips, prompts, progress, return_exceptions)
