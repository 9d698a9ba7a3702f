"""Many clips and cameras on one device: the next frames of all sessions, round by round in one batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from .answers import Answers
from .attempts import attempt
from .frame_watch import FrameWatch
from .propagation import Direction, Pass, plan_passes
from .session_state import SessionState
from .step import ComputedStep, FrameRequest, FrameStep, run_together
from .visits import request_clip


@dataclass(frozen=True)
class SessionFrame:
    """What has come of a session.

    Attributes:
        session: the session.
        output: all of its objects in a frame; None when there are no more frames.
        error: what ended the session; None if it has gone through all of its frames, or goes on.
    """

    session: Any
    output: Any = None
    error: Exception | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing more comes of the session."""
        return self.output is None


class SessionSchedule:
    """Tracks through the clips and live sources of several sessions at once; iterate over it for the frames.

    In each round, every session goes on by one frame: frames are encoded together, and the objects of all sessions are
    computed together. A session that has ended or failed leaves the others as they are; its last `SessionFrame` says
    which. A live source takes part in a round if its next frame has come; if there is nothing else to do, the first one
    to come is waited for. Frames of a clip are always waited for, so that batches do not depend on the time that
    reading takes.

    Sessions can be added and removed, and objects prompted, corrected and removed, between any two frames.

    Args:
        make_step: of a session.
        output: makes the output of a step for a frame.
        context: entered while something is computed.
    """

    def __init__(
        self,
        make_step: Callable[[Any], FrameStep],
        output: Callable[[FrameStep, int], Any],
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ):
        self._make_step = make_step
        self._output = output
        self._context = context
        self._runs: dict[int, _Run] = {}
        self._removed: set[int] = set()
        self._watch = FrameWatch()

    def add(
        self,
        session: Any,
        direction: Direction = "forward",
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        in_frame_order: bool = False,
    ) -> None:
        """Track through a session from the next round on.

        Args:
            session: has a clip or a live source, and at least one prompt.
            direction: as for `Sam2VideoModel.propagate_in_video_iterator`, like the next three.
            start_frame_idx: see there.
            max_frame_num_to_track: see there.
            in_frame_order: see there.

        Raises:
            ValueError: if the session is being tracked already, or for what is raised there.
            IndexError: for a frame outside the clip.
        """
        if id(session) in self._runs:
            raise ValueError("the session is being tracked already")
        step = self._make_step(session)
        passes = plan_passes(session, direction, start_frame_idx, max_frame_num_to_track, in_frame_order)
        self._runs[id(session)] = _Run(step, passes)

    def remove(self, session: Any) -> None:
        """Track no further through a session; what is computed stays in it.

        Raises:
            KeyError: if it is not being tracked, or no longer.
        """
        if id(session) not in self._runs:
            raise KeyError("the session is not being tracked")
        self._removed.add(id(session))
        self._end(self._runs[id(session)])

    def __len__(self) -> int:
        """The number of sessions that are being tracked."""
        return len(self._runs)

    def __contains__(self, session: Any) -> bool:
        return id(session) in self._runs

    def __iter__(self) -> Iterator[SessionFrame]:
        """Go on until all sessions have ended. Who leaves before has removed them all."""
        try:
            while self._runs:
                frames, self._removed = self.round(), set()
                for frame in frames:
                    if id(frame.session) not in self._removed:
                        yield frame
        finally:
            self.close()

    def round(self) -> list[SessionFrame]:
        """Go on by one frame, in all sessions that can.

        Returns:
            What has come of them, in the order in which they were added. It may be nothing; with a memory policy whose
            answers come later, it may be several frames of a session.
        """
        runs = self._due()
        with self._context():
            requests = [attempt(run.next_request) for run in runs]
            outcomes = iter(run_together([request for request in requests if isinstance(request, FrameRequest)]))
            came = [
                self._finish(run, request, next(outcomes))
                if isinstance(request, FrameRequest)
                else self._last(run, request)
                for run, request in zip(runs, requests, strict=True)
            ]
        return [frame for frames in came for frame in frames]

    def wake(self) -> None:
        """Have a `round` that waits for live sources return; from any thread."""
        self._watch.wake()

    def close(self) -> None:
        """Remove all sessions."""
        for run in list(self._runs.values()):
            self._end(run)

    def _due(self) -> list[_Run]:
        """The sessions that can go on."""
        for run in self._runs.values():
            if run.is_live and not run.is_asked:
                assert run.session.video is not None  # frames that are handed over make no passes
                self._watch.ask(run.key, run.session.video, run.next_frame)
                run.is_asked = True
        has_clips = any(not run.is_live for run in self._runs.values())
        is_waiting = any(run.is_asked and not run.has_arrived for run in self._runs.values())
        arrived = self._watch.arrived(wait=is_waiting and not has_clips)
        for run in self._runs.values():
            run.has_arrived = run.has_arrived or run.key in arrived
        return [run for run in self._runs.values() if not run.is_live or run.has_arrived]

    def _finish(self, run: _Run, request: FrameRequest, outcome: ComputedStep | Exception) -> list[SessionFrame]:
        """Note what was computed of a session; the frames that are handed out."""
        if isinstance(outcome, Exception):
            return self._last(run, outcome)
        run.session.mark_tracked(request.frame_idx, outcome.tracked, request.reverse)
        request.passed()
        return self._frames(run, run.answers.add(request))

    def _last(self, run: _Run, error: Exception | None = None) -> list[SessionFrame]:
        """End a session; the frames that are left."""
        frames = self._frames(run, run.answers.finish()) if error is None else []
        if run.session in self:
            self._end(run)
            frames.append(SessionFrame(run.session, error=error))
        return frames

    def _frames(self, run: _Run, known: Iterable[FrameRequest]) -> list[SessionFrame]:
        """Make the outputs of requests that are not silent."""
        frames: list[SessionFrame] = []
        for request in known:
            if request.silent:
                continue
            output = attempt(self._output, run.step, request.frame_idx)
            if isinstance(output, Exception):
                return [*frames, *self._last(run, output)]
            frames.append(SessionFrame(run.session, output))
        return frames

    def _end(self, run: _Run) -> None:
        self._watch.drop(run.key)
        self._runs.pop(id(run.session), None)
        run.requests.close()


class _Run:
    """A session on its way through its passes."""

    def __init__(self, step: FrameStep, passes: Sequence[Pass]):
        self.step = step
        self.session: SessionState = step.session
        self.answers = Answers(step)
        self.requests: Generator[FrameRequest, None, None] = request_clip(step, passes)
        self.key = object()
        # Of a live source there is one pass, and it goes forward.
        self.is_live = self.session.num_frames_total is None
        self.next_frame = passes[0].frames.start
        self.is_asked = self.has_arrived = False

    def next_request(self) -> FrameRequest | None:
        """The request for the next frame; None at the end."""
        request = next(self.requests, None)
        self.is_asked = self.has_arrived = False
        self.next_frame += 1
        return request
