"""The loop over a clip: which frames are visited in which order, read ahead and encoded a few at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from numbers import Integral
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..arrays import Array
from ..network.features import FrameFeatures
from .plan import Scope
from .session_state import SessionState

if TYPE_CHECKING:
    import torch

Direction = Literal["forward", "backward", "both"]
# Stands for the end of a clip whose length is not known.
ENDLESS = 2**62
FRAMES_ON_ACCELERATORS = 4


class Pass(NamedTuple):
    """One pass over the clip, for the objects in `scope`; `silent` keeps the results without handing them out."""

    frames: range
    reverse: bool = False
    scope: Scope = "all"
    silent: bool = False


def plan_passes(
    session: SessionState,
    direction: Direction,
    start: int | None = None,
    max_frames: int | None = None,
    in_frame_order: bool = False,
) -> list[Pass]:
    """The passes that `Sam2VideoModel.propagate_in_video_iterator` describes; a pass may be empty."""
    if direction not in ("forward", "backward", "both"):
        raise ValueError(f'direction must be "forward", "backward" or "both", got {direction!r}')
    if session.frames.is_handed_over:
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
    return [*(one_pass._replace(silent=True) for one_pass in passes), *(Pass(frames, scope="none") for frames in shown)]


def _first_to_visit(session: SessionState, firsts: list[int]) -> int:
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


def _check_going_back(session: SessionState, in_frame_order: bool) -> None:
    if not session.is_seekable:
        raise ValueError("a stream can only be tracked forward: its frames are gone when they have passed")
    if in_frame_order and session.retention == "readable":
        raise ValueError('in_frame_order needs a session with retention="everything" or "checkpointed"')


def frames_at_once(asked: int | None, device: torch.device) -> int:
    """How many frames are encoded in one batch: what was asked for, or a number that suits the device.

    One frame fills a CPU; several would only lie about. An accelerator computes faster than the kernels of one frame
    can be launched. Raises a `TypeError` or `ValueError` for what is not a number above 0.
    """
    if asked is None:
        return 1 if device.type == "cpu" else FRAMES_ON_ACCELERATORS
    if isinstance(asked, bool) or not isinstance(asked, Integral):
        raise TypeError(f"frames_per_batch must be an int, got {asked!r}")
    if asked < 1:
        raise ValueError(f"frames_per_batch must be at least 1, got {asked}")
    return int(asked)


class FrameReader:
    """The frames of one pass after the other, read ahead on a thread and encoded a few at once; those that nobody asks
    for are not read, nor encoded.

    `encode` takes pixels (B, 3, H, W). Frames that follow the one asked for join its batch, up to `at_once` of them and
    as long as `is_needed` says of each that it will be asked for as well. Their features wait here for that. Who
    encodes frames of several sessions in one batch takes `pixels` and gives features back with `put`.
    """

    def __init__(
        self,
        session: SessionState,
        encode: Callable[[Array], Sequence[FrameFeatures]],
        is_needed: Callable[[int, Pass], bool],
        at_once: int = 1,
    ):
        self._session = session
        self._encode = encode
        self._is_needed = is_needed
        # Of a stream, the next frames may be long in coming.
        self._at_once = at_once if session.is_seekable else 1
        self._pass = Pass(range(0))
        self._ahead: Generator[tuple[int, Array], None, None] | None = None
        self._next: int | None = None
        self._encoded: dict[int, FrameFeatures] = {}

    def frames(self, one_pass: Pass) -> Iterator[int]:
        """The frames of a pass, as long as there are any and there are objects left."""
        self._pass = one_pass
        self._encoded.clear()
        return itertools.takewhile(self._is_there, one_pass.frames)

    def features(self, frame_idx: int) -> FrameFeatures:
        """A frame of the pass as the model sees it."""
        held = self.held(frame_idx)
        if held is not None:
            return held
        encoded = self._encode(self.pixels(frame_idx))
        self.put(frame_idx, encoded)
        return encoded[0]

    def held(self, frame_idx: int) -> FrameFeatures | None:
        """The features of a frame that was encoded with one before; they are given once."""
        return self._encoded.pop(frame_idx, None)

    def pixels(self, frame_idx: int) -> Array:
        """Pixels (B, 3, H, W) of a frame of the pass and of those that join its batch."""
        return self._session.frames.join(self._read_together(frame_idx))

    def put(self, frame_idx: int, encoded: Sequence[FrameFeatures]) -> None:
        """Keep the features of all frames of a batch but the first."""
        step = self._pass.frames.step
        frames = range(frame_idx, frame_idx + len(encoded) * step, step)
        self._encoded = dict(zip(frames[1:], encoded[1:], strict=True))

    def _read_together(self, frame_idx: int) -> list[Array]:
        """Pixels (1, 3, H, W) of the frame and of those that join its batch."""
        pixels = [self._read(frame_idx)]
        position = self._pass.frames.index(frame_idx) + 1
        following = self._pass.frames[position : position + self._at_once - 1]
        for other in itertools.takewhile(lambda frame: self._is_needed(frame, self._pass), following):
            try:
                pixels.append(self._read(other))
            except Exception:
                self.close()  # the error is raised in its place, when this frame is asked for
                break
        return pixels

    def _read(self, frame_idx: int) -> Array:
        """The frame as the model's input (1, 3, H, W)."""
        session, video = self._session, self._session.video
        if video is None or not video.seekable:
            return session.pixel_values(frame_idx)
        prepare = session.frames.prepare_ahead
        if self._ahead is None or self._next != frame_idx:
            self.close()
            self._ahead = video.iterate(frame_idx, self._pass.frames.stop, self._pass.frames.step, prepare)
        self._next = frame_idx + self._pass.frames.step
        frame = next(self._ahead)[1]
        return session.frames.move(frame if prepare is not None else session.frames.prepare(frame))

    def close(self) -> None:
        """Ends reading ahead."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_there(self, frame_idx: int) -> bool:
        if not self._session.tracks:
            return False
        return self._session.num_frames_total is not None or self._session.frames.advance_to(frame_idx)
