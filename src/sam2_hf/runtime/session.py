"""Sessions whose state and frames are NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..arrays import to_numpy
from ..inputs.images import LoadedImage
from ..tracking.frames import SessionFrames
from ..tracking.session_storage import load_session
from ..tracking.whole_session import WholeSession
from .video_source import open_video

if TYPE_CHECKING:
    from ..video_io.source import VideoSource


class MakesPixels(Protocol):
    """What turns an image into the graphs' input, such as a `Processor`."""

    def pixel_values(self, image: LoadedImage) -> np.ndarray:
        """Resize and normalise an image: (1, 3, height, width) float32."""

    def to_dict(self) -> dict[str, Any]:
        """Its settings, by the names of those of `Sam2ImageProcessor`."""


class ArrayFrames(SessionFrames):
    """The frames of one session as arrays.

    Args:
        video: the clip or live source; None for a stream whose frames are handed over.
        processor: makes the graphs' input of a frame.
    """

    def __init__(self, video: VideoSource | None, processor: MakesPixels | None):
        super().__init__(video, is_handed_over=video is None)
        self.processor = processor

    def prepare(self, frame: Any) -> np.ndarray:
        """Resize and normalise a frame (3, height, width)."""
        assert self.processor is not None  # there is one beside each video
        return self.processor.pixel_values(LoadedImage(to_numpy(frame), 255.0))

    def move(self, pixel_values: np.ndarray) -> np.ndarray:
        """Leave the pixels where they are."""
        return pixel_values

    @property
    def prepare_ahead(self) -> Callable[[Any], np.ndarray]:
        """`prepare`, which may run beside the graphs."""
        return self.prepare

    def join(self, pixels: list[np.ndarray]) -> np.ndarray:
        """Lay pixels (1, 3, H, W) of several frames one behind the other."""
        return pixels[0] if len(pixels) == 1 else np.concatenate(pixels)

    def as_input(self, pixel_values: np.ndarray) -> np.ndarray:
        """Bring a stream's frame, (3, H, W) or (1, 3, H, W), to the graphs' input (1, 3, H, W)."""
        return pixel_values.reshape(1, *pixel_values.shape[-3:]).astype(np.float32, copy=False)

    def check_pixels(self, pixel_values: Any, size: tuple[int, int], channels: int = 3) -> None:
        """Refuse what is not the pixels of a frame: another shape, or no finite floating-point numbers.

        Raises:
            ValueError: says what came.
        """
        given = pixel_values.shape if isinstance(pixel_values, np.ndarray) else type(pixel_values).__name__
        shape = (channels, *size)
        if given not in (shape, (1, *shape)):
            raise ValueError(f"frame must be one frame's pixel_values of the processor, {shape}, got {given}")
        if pixel_values.dtype.kind != "f" or not np.isfinite(pixel_values).all():
            what = "NaN or infinite values" if pixel_values.dtype.kind == "f" else pixel_values.dtype
            raise ValueError(f"frame must be normalised, finite pixel_values as the processor gives them, got {what}")

    def add(self, pixel_values: np.ndarray, frame_idx: int) -> None:
        """Take the next frame of a stream, checked by `check_next`."""
        # A copy: the caller may fill the same buffer with the next frame before this one is prompted.
        self.newest_pixels = self.as_input(pixel_values).copy()
        self.num_streamed = frame_idx + 1


class VideoSession(WholeSession):
    """Everything that is known while one clip or stream is tracked. `SessionState` has the state and its invariants.

    A session belongs to one thread at a time. What it writes to disk, `sam2_hf.Sam2VideoInferenceSession` can read,
    and the other way.
    """

    holds_tensors: ClassVar[bool] = False
    frames: ArrayFrames

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], video: Any = None, processor: MakesPixels | None = None
    ) -> VideoSession:
        """Read a session back; going on from there gives what going on without a break would have given.

        Args:
            directory: the folder.
            video: the clip that the session was opened on, in any of the forms of `init_video_session`; None for a
                stream.
            processor: that of the exported checkpoint; needed with `video`.

        Raises:
            FileNotFoundError: for a folder that holds no session.
            ValueError: for files that are damaged, a video that is not the session's, or one without `processor`.
        """
        if video is not None and processor is None:
            raise ValueError("processor must be given with video: that of the exported checkpoint")
        source = None if video is None else open_video(video)
        return load_session(cls, directory, source, processor=processor)

    def describe_settings(self) -> dict[str, Any]:
        """How frames become the graphs' input; see `SessionState.describe_settings`.

        The exported checkpoint says it, so it is written for sessions in torch alone.
        """
        processor = self.frames.processor
        return {"dtype": "float32", "image_processor": None if processor is None else processor.to_dict()}

    @classmethod
    def from_settings(cls, description: Mapping[str, Any], **settings: Any) -> VideoSession:
        """Open a session without objects; see `SessionState.from_settings`."""
        return cls(
            ArrayFrames(settings["video"], settings["processor"]),
            (settings["video_height"], settings["video_width"]),
            settings["retention"],
            settings["max_vision_features_cache_size"],
            None,
            settings["memory_policy"],
        )
