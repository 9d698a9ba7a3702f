"""What a call of a model with a session does: one frame visited, or all frames of a clip one after the other.

Each has a form that gives requests and computes nothing, so that frames of several sessions are computed together.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from ..arrays import Array
from .answers import Answers
from .attempts import attempt
from .frame_result import FrameResult
from .propagation import FrameReader, Pass
from .step import ComputedStep, FrameRequest, FrameStep, run_alone, run_together

Computed = Mapping[Hashable, FrameResult]


class Visit(NamedTuple):
    """A frame of one session that a caller asks for; see `visit_frame` for its fields."""

    step: FrameStep
    frame_idx: int | None = None
    frame: Array | None = None
    reverse: bool = False


class Visited(NamedTuple):
    """The index of the frame that was visited, and results of it that need not be looked up in the session."""

    frame_idx: int
    computed: Computed


def visit_frame(
    step: FrameStep,
    frame_idx: int | None,
    frame: Array | None,
    shape: tuple[int, int, int],
    reverse: bool = False,
    remember: bool = True,
) -> Visited:
    """Bring all objects up to date in one frame; prompts that wait on other frames are segmented before.

    Args:
        step: of the session.
        frame_idx: which frame of the clip; of a stream, the next one if None.
        frame: the next frame of a stream as the model's input, (3, H, W).
        shape: (C, H, W) of the model's input.
        reverse: whether the clip is tracked backwards.
        remember: whether the frame is remembered; if not, results are computed and the session stays as it was.

    Raises:
        ValueError, IndexError, TypeError: as the calls of models say. The session is then as it was.
    """
    visited = visit_frames([Visit(step, frame_idx, frame, reverse)], shape, remember)[0]
    if isinstance(visited, Exception):
        raise visited
    return visited


def visit_frames(
    visits: Sequence[Visit], shape: tuple[int, int, int], remember: bool = True
) -> list[Visited | Exception]:
    """Visit frames of several sessions in one batch; see `visit_frame`.

    Args:
        visits: of different sessions.
        shape: (C, H, W) of the model's input.
        remember: whether the frames are remembered.

    Returns:
        For each session what came of it, or what was raised; the others do not know of that.
    """
    requests = [attempt(request_frame, *visit[:3], shape, visit.reverse) for visit in visits]
    asked = [request for request in requests if not isinstance(request, Exception)]
    outcomes = iter(run_together(asked, remember))
    return [
        request if isinstance(request, Exception) else attempt(_visited, request, next(outcomes), remember)
        for request in requests
    ]


def request_frame(
    step: FrameStep, frame_idx: int | None, frame: Array | None, shape: tuple[int, int, int], reverse: bool = False
) -> FrameRequest:
    """Check the arguments of `visit_frame`, do what has to be done before, and make the request for the frame."""
    session = step.session
    if frame is not None:
        frame_idx = session.check_next_frame(frame, frame_idx, shape[1:], shape[0])
        step.segment_prompts(session.waiting_frames(frame_idx))
        if session.newest_streamed is not None:
            step.run(session.newest_streamed)  # one last time
        return FrameRequest(step, frame_idx, frame=frame)
    if frame_idx is None:
        raise ValueError("expected frame_idx, or frame for a stream; got neither")
    frame_idx = session.check_frame_idx(frame_idx)
    session.check_not_gone(frame_idx)
    step.segment_prompts(other for other in session.waiting_frames(frame_idx) if other != frame_idx)
    session.frames.wait_for(frame_idx)
    return FrameRequest(step, frame_idx, reverse)


def _visited(request: FrameRequest, outcome: ComputedStep | Exception, remember: bool) -> Visited:
    """Bring back what is to be shown of a frame that was computed."""
    if isinstance(outcome, Exception):
        raise outcome
    if request.frame is None:
        request.step.recall(request.frame_idx)
    if remember:
        request.passed()
    if request.frame is not None:
        return Visited(request.frame_idx, outcome.results)
    return Visited(request.frame_idx, {} if remember else outcome.results)


def visit_clip(
    step: FrameStep, passes: Sequence[Pass], at_once: int = 1, progress: Any = None
) -> Generator[int, None, None]:
    """Go through the passes over a clip; the results of each frame are in the session when it is given.

    Args:
        step: of the session.
        passes: from `plan_passes`.
        at_once: how many frames are encoded at once.
        progress: has `update()`, called after each frame.
    """
    answers = Answers(step)
    with closing(request_clip(step, passes, at_once)) as requests:
        for request in requests:
            tracked = run_alone(request).tracked
            step.session.mark_tracked(request.frame_idx, tracked, request.reverse)
            request.passed()
            if progress is not None:
                progress.update()
            yield from (known.frame_idx for known in answers.add(request) if not known.silent)
        yield from (known.frame_idx for known in answers.finish() if not known.silent)


def request_clip(step: FrameStep, passes: Sequence[Pass], at_once: int = 1) -> Generator[FrameRequest, None, None]:
    """Make the requests for the frames of passes over a clip, each when the one before is computed and handed out."""
    session = step.session
    step.segment_prompts(session.waiting_frames(passes[0].frames.start))
    session.settle_prompts()

    def is_needed(frame_idx: int, one_pass: Pass) -> bool:
        tasks = step.plan(frame_idx, one_pass.reverse, one_pass.scope).tasks
        return len(tasks) > 0 and frame_idx not in session.feature_cache

    with FrameReader(session, step.encode, is_needed, at_once) as reader:
        for frames, reverse, scope, silent in passes:
            for frame_idx in reader.frames(Pass(frames, reverse, scope, silent)):
                yield FrameRequest(step, frame_idx, reverse, scope, reader, silent=silent)
                if not silent:
                    # The caller may just have prompted this frame, which a stream is about to leave.
                    step.segment_prompts(session.waiting_frames(frame_idx + 1))
