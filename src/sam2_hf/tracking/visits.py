"""What a call of a model with a session does: one frame visited, or all frames of a clip one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from typing import Any

from ..arrays import Array
from ..network.features import FrameFeatures
from .frame_result import FrameResult
from .propagation import FrameReader, Pass
from .step import FrameStep

Encode = Callable[[Array], Sequence[FrameFeatures]]
Computed = Mapping[Hashable, FrameResult]


def visit_frame(
    step: FrameStep,
    frame_idx: int | None,
    frame: Array | None,
    encode: Encode,
    shape: tuple[int, int, int],
    reverse: bool = False,
    remember: bool = True,
) -> tuple[int, Computed]:
    """Bring all objects up to date in one frame; prompts that wait on other frames are segmented before.

    Args:
        step: of the session.
        frame_idx: which frame of the clip; of a stream, the next one if None.
        frame: the next frame of a stream as the model's input, (3, H, W).
        encode: gives the features of frames (B, 3, H, W).
        shape: (C, H, W) of the model's input.
        reverse: whether the clip is tracked backwards.
        remember: whether the frame is remembered; if not, results are computed and the session stays as it was.

    Returns:
        The index of the frame, and the results that the session does not hold.

    Raises:
        ValueError, IndexError, TypeError: as the calls of models say. The session is then as it was.
    """
    session = step.session
    if frame is not None:
        return _take_frame(step, frame, frame_idx, encode, shape, remember)
    if frame_idx is None:
        raise ValueError("expected frame_idx, or frame for a stream; got neither")
    frame_idx = session.check_frame_idx(frame_idx)
    session.check_not_gone(frame_idx)
    step.segment_prompts(other for other in session.waiting_frames(frame_idx) if other != frame_idx)
    session.frames.wait_for(frame_idx)
    computed: Computed = {}
    if remember:
        step.run(frame_idx, reverse)
    else:
        computed = step.compute(frame_idx, reverse, remember=False).results
    step.recall(frame_idx)
    return frame_idx, computed


def _take_frame(
    step: FrameStep, frame: Array, frame_idx: int | None, encode: Encode, shape: tuple[int, int, int], remember: bool
) -> tuple[int, Computed]:
    """Bring a stream's newest frame up to date one last time, then segment the next one and take it."""
    session = step.session
    frame_idx = session.check_next_frame(frame, frame_idx, shape[1:], shape[0])
    step.segment_prompts(session.waiting_frames(frame_idx))
    if session.newest_streamed is not None:
        step.run(session.newest_streamed)
    with session.used_by_this_thread():
        computed = step.compute(
            frame_idx, encode=lambda _: encode(session.frames.as_input(frame))[0], remember=remember
        )
        session.add_frame(frame, frame_idx)
        if remember:
            step.keep(frame_idx, computed)
    return frame_idx, computed.results


def visit_clip(
    step: FrameStep, passes: Sequence[Pass], encode: Encode, at_once: int = 1, progress: Any = None
) -> Generator[int, None, None]:
    """Go through the passes over a clip; the results of each frame are in the session when it is given.

    Args:
        step: of the session.
        passes: from `plan_passes`.
        encode: gives the features of frames (B, 3, H, W).
        at_once: how many frames are encoded at once.
        progress: has `update()`, called after each frame.
    """
    session = step.session
    step.segment_prompts(session.waiting_frames(passes[0].frames.start))
    session.settle_prompts()

    def is_needed(frame_idx: int, one_pass: Pass) -> bool:
        tasks = step.plan(frame_idx, one_pass.reverse, one_pass.scope).tasks
        return len(tasks) > 0 and frame_idx not in session.feature_cache

    with FrameReader(session, encode, is_needed, at_once) as reader:
        for one_pass in passes:
            for frame_idx in reader.frames(one_pass):
                tracked = step.run(frame_idx, one_pass.reverse, one_pass.scope, reader.features)
                session.mark_tracked(frame_idx, tracked, one_pass.reverse)
                if progress is not None:
                    progress.update()
                if not one_pass.silent:
                    yield frame_idx
                    # The caller may just have prompted this frame, which a stream is about to leave.
                    step.segment_prompts(session.waiting_frames(frame_idx + 1))
