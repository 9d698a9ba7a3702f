"""The loop over a clip: which frames are visited in which order, and their pictures read ahead."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from numbers import Integral
from types import TracebackType
from typing import Literal, NamedTuple

from torch import Tensor

from .tracking import Scope
from .video_session import Sam2VideoInferenceSession

Direction = Literal["forward", "backward", "both"]
# Stands for the end of a clip whose length is not known.
ENDLESS = 2**62


class Pass(NamedTuple):
    """One way through the clip, for the objects in `scope`; `silent` keeps the results without handing them out."""

    frames: range
    reverse: bool = False
    scope: Scope = "all"
    silent: bool = False


def plan_passes(
    session: Sam2VideoInferenceSession,
    direction: Direction,
    start: int | None = None,
    max_frames: int | None = None,
    in_frame_order: bool = False,
) -> list[Pass]:
    """The passes that `Sam2VideoModel.propagate_in_video_iterator` describes; a pass may be empty."""
    if direction not in ("forward", "backward", "both"):
        raise ValueError(f'direction must be "forward", "backward" or "both", got {direction!r}')
    if session.video is None:
        raise ValueError("a stream has no clip to propagate through: call the model with each frame as it comes")
    firsts = [min(track.prompted_frames()) for track in session.tracks.values() if track.prompted_frames()]
    if not firsts:
        raise ValueError("there is nothing to propagate: no object of this session has a prompt; add inputs first")
    if direction != "forward":
        _check_going_back(session, in_frame_order)
    start = _first_to_visit(session, firsts) if start is None else session.check_frame_idx(start)
    if session.is_gone(start):
        raise IndexError(f"frame {start} of the stream is gone; it goes on from frame {session.newest_streamed}")

    reach = _check_reach(max_frames)
    total = ENDLESS if session.num_frames_total is None else session.num_frames_total
    last, first = min(start + reach, total - 1), max(start - reach, 0)
    onward = Pass(range(start, last + 1))
    if direction == "forward":
        return [onward]
    if direction == "backward":
        # Like the official predictor: there is nothing to track backward from the first frame.
        passes = [Pass(range(start, first - 1, -1) if start > 0 else range(0), reverse=True)]
    else:
        passes = [onward, Pass(range(min(max(firsts) - 1, last), first - 1, -1), reverse=True, scope="unprompted")]
    if not in_frame_order:
        return passes
    back = passes[-1].frames[::-1]
    shown = [back] if direction == "backward" else [range(back.start, min(back.stop, start)), onward.frames]
    return [*(leg._replace(silent=True) for leg in passes), *(Pass(frames, scope="none") for frames in shown)]


def _first_to_visit(session: Sam2VideoInferenceSession, firsts: list[int]) -> int:
    """The earliest prompted frame; a stream that has gone past it goes on from where it stands."""
    if session.is_seekable or session.newest_streamed is None:
        return min(firsts)
    return max(min(firsts), session.newest_streamed)


def _check_reach(max_frames: int | None) -> int:
    if max_frames is None:
        return ENDLESS
    if isinstance(max_frames, bool) or not isinstance(max_frames, Integral):
        raise TypeError(f"max_frame_num_to_track must be an int, got {max_frames!r}")
    if max_frames < 0:
        raise ValueError(f"max_frame_num_to_track must be 0 or above, got {max_frames}")
    return int(max_frames)


def _check_going_back(session: Sam2VideoInferenceSession, in_frame_order: bool) -> None:
    if not session.is_seekable:
        raise ValueError("a stream can only be tracked forward: its frames are gone when they have passed")
    if in_frame_order and session.retention != "everything":
        raise ValueError('in_frame_order needs a session with retention="everything"')


class FrameWalk:
    """The pictures of one pass after the other, read ahead on a thread; frames that nobody asks for are not read."""

    def __init__(self, session: Sam2VideoInferenceSession):
        self._session = session
        self._leg = Pass(range(0))
        self._ahead: Generator[tuple[int, Tensor], None, None] | None = None
        self._next: int | None = None

    def frames(self, leg: Pass) -> Iterator[int]:
        """The frames of a pass, as long as there are any and there are objects left."""
        self._leg = leg
        return itertools.takewhile(self._is_there, leg.frames)

    def pixel_values(self, frame_idx: int) -> Tensor:
        """The frame as the model's input (1, 3, H, W)."""
        video = self._session.video
        if video is None or not video.seekable:
            return self._session.pixel_values(frame_idx)
        if self._ahead is None or self._next != frame_idx:
            self.close()
            self._ahead = video.iterate(frame_idx, self._leg.frames.stop, self._leg.frames.step)
        self._next = frame_idx + self._leg.frames.step
        return self._session.preprocess(next(self._ahead)[1])

    def close(self) -> None:
        """Ends reading ahead."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = None

    def __enter__(self) -> FrameWalk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_there(self, frame_idx: int) -> bool:
        if not self._session.tracks:
            return False
        return self._session.num_frames_total is not None or self._session.reaches(frame_idx)
