"""The attributes of a session that are those of its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

from ..arrays import Array
from .frames import SessionFrames

if TYPE_CHECKING:
    from ..video_io.source import VideoSource


class FrameAttributes:
    """What can be asked of a session about its frames, and is answered by `frames`."""

    frames: SessionFrames

    @property
    def video(self) -> VideoSource | None:
        """Where frames come from; None for a stream whose frames are handed over."""
        return self.frames.video

    @property
    def is_seekable(self) -> bool:
        """Whether any frame can be read at any time."""
        return self.frames.is_seekable

    @property
    def num_frames(self) -> int | None:
        """Number of frames of the clip, None if its end is not known; of a stream, the frames so far."""
        return self.frames.num_streamed if self.frames.is_handed_over else self.frames.total

    @property
    def num_frames_total(self) -> int | None:
        """Number of frames of the clip, None for a stream or a source without a known end."""
        return self.frames.total

    @property
    def newest_streamed(self) -> int | None:
        """Index of the last frame of a stream that has come, None before the first and for clips."""
        return self.frames.newest

    def check_frame_idx(self, frame_idx: SupportsIndex) -> int:
        """Return the index as an int.

        Raises:
            TypeError: if it is no integer.
            IndexError: if the clip has no such frame.
        """
        return self.frames.check_index(frame_idx)

    def add_frame(self, pixel_values: Array, frame_idx: int) -> None:
        """Take the next frame of a stream, checked by `check_next_frame`."""
        self.frames.add(pixel_values, frame_idx)

    def pixel_values(self, frame_idx: int) -> Array:
        """Read a frame as the model's input (1, 3, H, W)."""
        return self.frames.pixel_values(frame_idx)
