"""Where the pixels of a session come from: a clip, a live source, or frames that are handed over one by one.

`advance_to` and `pixel_values` may read a live source, which then has gone past the frame. No question reads one.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, SupportsIndex

from ..arrays import Array
from ..video_io.source import FrameUnavailableError

if TYPE_CHECKING:
    from ..video_io.source import VideoSource


class SessionFrames(ABC):
    """The frames of one session.

    Invariant: of a stream, at most the pixels of its newest frame are held; of a clip, none that its source can give
    again. What kind of array the pixels are is the matter of a subclass.
    """

    def __init__(self, video: VideoSource | None, is_handed_over: bool):
        """Start before the first frame.

        Args:
            video: the clip or live source, if there is one.
            is_handed_over: whether this is a stream whose frames the caller hands over one by one.
        """
        self.video = video
        self.is_handed_over = is_handed_over
        self.newest_pixels: Array | None = None
        self.num_streamed = 0
        """Frames of a stream that have come so far, handed over or read."""

    # What a subclass fills in

    @abstractmethod
    def prepare(self, frame: Any) -> Array:
        """First half of `preprocess`: resize and normalise."""

    @abstractmethod
    def move(self, pixel_values: Array) -> Array:
        """Second half of `preprocess`: move to where the model computes."""

    @property
    @abstractmethod
    def prepare_ahead(self) -> Callable[[Any], Array] | None:
        """`prepare` for a thread that reads beside the model; None if frames are to be prepared on the model's."""

    @abstractmethod
    def join(self, pixels: list[Array]) -> Array:
        """Lay pixels (1, 3, H, W) of several frames one behind the other."""

    @abstractmethod
    def as_input(self, pixel_values: Array) -> Array:
        """Bring a stream's frame, (3, H, W) or (1, 3, H, W), to the model's input (1, 3, H, W)."""

    @abstractmethod
    def check_pixels(self, pixel_values: Any, size: tuple[int, int], channels: int = 3) -> None:
        """Refuse what is not the pixels of a frame, see `check_next`."""

    @abstractmethod
    def add(self, pixel_values: Array, frame_idx: int) -> None:
        """Take the next frame of a stream, checked by `check_next`."""

    # What all have in common

    @property
    def is_seekable(self) -> bool:
        """Whether any frame can be read at any time."""
        return self.video is not None and self.video.seekable

    @property
    def total(self) -> int | None:
        """Number of frames of the clip; None for a stream or a source without a known end."""
        return self.video.num_frames if self.video is not None else None

    @property
    def newest(self) -> int | None:
        """Index of the last frame of a stream that has come; None before the first and for clips."""
        return self.num_streamed - 1 if self.num_streamed > 0 else None

    def check_index(self, frame_idx: SupportsIndex) -> int:
        """Return the index as an int.

        Raises:
            TypeError: if it is no integer.
            IndexError: if the clip has no such frame.
        """
        try:
            index = operator.index(frame_idx)
        except TypeError:
            index = None
        if index is None or isinstance(frame_idx, bool) or str(getattr(frame_idx, "dtype", "")).endswith("bool"):
            raise TypeError(f"frame_idx must be an int, got {frame_idx!r}")
        if index < 0 or (self.total is not None and index >= self.total):
            bounds = f"in 0..{self.total - 1}" if self.total is not None else "0 or above"
            raise IndexError(f"frame_idx must be {bounds}, got {index}")
        return index

    def check_next(
        self, pixel_values: Any, frame_idx: SupportsIndex | None, size: tuple[int, int], channels: int = 3
    ) -> int:
        """Return the index that `add` will give to the next frame of a stream.

        Args:
            pixel_values: the frame, (3, H, W) or (1, 3, H, W), normalised.
            frame_idx: the index that the caller gives it; the next one if None.
            size: (H, W) of the model's input.
            channels: of the model's input.

        Raises:
            ValueError: if the session reads its frames from a video, or the pixels have another shape, are not
                floating-point numbers or, on the CPU, not finite.
            IndexError: if the stream has gone past the index.
        """
        if not self.is_handed_over:
            raise ValueError(
                "this session reads its frames from a video; call the model with frame_idx instead of frame"
            )
        self.check_pixels(pixel_values, size, channels)
        index = self.num_streamed if frame_idx is None else self.check_index(frame_idx)
        if index < self.num_streamed:
            raise IndexError(f"a stream only goes on: the next frame_idx is {self.num_streamed} or above, got {index}")
        return index

    def advance_to(self, frame_idx: int) -> bool:
        """Go on to a frame of a source without a known end, and wait for it if need be.

        Returns:
            Whether the source has that many frames.
        """
        assert self.video is not None
        try:
            self.video[frame_idx]
        except IndexError:
            return False
        except FrameUnavailableError:
            pass  # it has gone by
        self.num_streamed = max(self.num_streamed, frame_idx + 1)
        return True

    def is_gone(self, frame_idx: int) -> bool:
        """Whether a stream has passed the frame, so that its pixels cannot be had any more. Reads nothing."""
        if self.is_seekable or frame_idx >= self.num_streamed:
            return False
        if self.video is None:
            return self.newest_pixels is None or frame_idx != self.newest
        return self.video.has_passed(frame_idx)

    def gone_error(self, frame_idx: int) -> IndexError:
        """What is raised for a frame that is gone."""
        return IndexError(
            f"frame {frame_idx} of the stream is gone; the newest frame, {self.newest}, and those to come can be "
            "prompted and visited"
        )

    def pixel_values(self, frame_idx: int) -> Array:
        """Read a frame as the model's input (1, 3, H, W).

        Raises:
            IndexError: if a stream has passed the frame, or ended before it.
        """
        if self.video is None:
            if self.newest_pixels is None or frame_idx != self.newest:
                raise self.gone_error(frame_idx)
            return self.move(self.newest_pixels)
        if not self.is_seekable:
            self.wait_for(frame_idx)
        return self.preprocess(self.video[frame_idx])

    def wait_for(self, frame_idx: int) -> None:
        """Go on to a frame, if a source without a known end gives them.

        Raises:
            IndexError: if the source ends before the frame.
        """
        if self.video is not None and not self.is_seekable and not self.advance_to(frame_idx):
            raise IndexError(f"the stream ended before frame {frame_idx}")

    def preprocess(self, frame: Any) -> Array:
        """Bring a frame (3, height, width) uint8 of the video to the model's input (1, 3, H, W)."""
        return self.move(self.prepare(frame))
