"""Where the pixels of a session come from: a clip, a live source, or frames that are handed over one by one.

`advance_to` and `pixel_values` may read a live source, which then has gone past the frame. No question reads one.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, SupportsIndex

import torch
from torch import Tensor

from ..inputs.transfer import ready_to_send, send
from ..video_io.source import FrameUnavailableError

if TYPE_CHECKING:
    from ..image_processing_sam2 import Sam2ImageProcessor
    from ..video_io.source import VideoSource


class SessionFrames:
    """The frames of one session.

    Invariant: of a stream, at most the pixels of its newest frame are held, on `storage_device`; of a clip, none that
    its source can give again.
    """

    def __init__(
        self,
        video: VideoSource | Tensor | None,
        image_processor: Sam2ImageProcessor | None,
        dtype: torch.dtype,
        inference_device: torch.device,
        storage_device: torch.device,
        processing_device: torch.device | str | None = None,
    ):
        """Start before the first frame.

        Args:
            video: the clip or live source; or a clip's frames as the model's input, (T, 3, H, W) or
                (1, T, 3, H, W); None for a stream whose frames are handed over.
            image_processor: turns a frame of `video` into the model's input.
            dtype: of the model's input.
            inference_device: where the model computes.
            storage_device: where pixels are kept while they are needed.
            processing_device: where frames of `video` are resized; where they come from by default.

        Raises:
            ValueError: for frames of another shape.
        """
        self.video = None if isinstance(video, Tensor) else video
        self.processed = _frames_of(video).to(storage_device, dtype) if isinstance(video, Tensor) else None
        """The frames of a clip that was given as the model's input."""
        self.image_processor = image_processor
        self.dtype = dtype
        self.inference_device = inference_device
        self.storage_device = storage_device
        self.processing_device = processing_device
        self.is_handed_over = video is None
        """Whether this is a stream whose frames the caller hands over one by one."""
        self.is_seekable = self.processed is not None or (self.video is not None and self.video.seekable)
        self.newest_pixels: Tensor | None = None
        self.num_streamed = 0
        """Frames of a stream that have come so far, handed over or read."""

    @property
    def total(self) -> int | None:
        """Number of frames of the clip; None for a stream or a source without a known end."""
        if self.processed is not None:
            return len(self.processed)
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
        if index is None or isinstance(frame_idx, bool):
            raise TypeError(f"frame_idx must be an int, got {frame_idx!r}")
        if index < 0 or (self.total is not None and index >= self.total):
            bounds = f"in 0..{self.total - 1}" if self.total is not None else "0 or above"
            raise IndexError(f"frame_idx must be {bounds}, got {index}")
        return index

    def check_next(self, pixel_values: Tensor, frame_idx: SupportsIndex | None, size: tuple[int, int]) -> int:
        """Return the index that `add` will give to the next frame of a stream.

        Args:
            pixel_values: the frame, (3, H, W) or (1, 3, H, W), normalised.
            frame_idx: the index that the caller gives it; the next one if None.
            size: (H, W) of the model's input.

        Raises:
            ValueError: if the session reads its frames from a video, or the pixels have another shape, or are not
                finite floating-point numbers.
            IndexError: if the stream has gone past the index.
        """
        if not self.is_handed_over:
            raise ValueError(
                "this session reads its frames from a video; call the model with frame_idx instead of frame"
            )
        given = tuple(pixel_values.shape) if isinstance(pixel_values, Tensor) else type(pixel_values).__name__
        if given not in ((3, *size), (1, 3, *size)):
            raise ValueError(f"frame must be one frame's pixel_values of the processor, {(3, *size)}, got {given}")
        if not pixel_values.is_floating_point() or not bool(pixel_values.isfinite().all()):
            what = "NaN or infinite values" if pixel_values.is_floating_point() else pixel_values.dtype
            raise ValueError(f"frame must be normalised, finite pixel_values as the processor gives them, got {what}")
        index = self.num_streamed if frame_idx is None else self.check_index(frame_idx)
        if index < self.num_streamed:
            raise IndexError(f"a stream only goes on: the next frame_idx is {self.num_streamed} or above, got {index}")
        return index

    def add(self, pixel_values: Tensor, frame_idx: int) -> None:
        """Take the next frame of a stream, checked by `check_next`."""
        # A copy: the caller may fill the same buffer with the next frame before this one is prompted.
        pixels = pixel_values.reshape(1, *pixel_values.shape[-3:])
        self.newest_pixels = pixels.to(self.storage_device, self.dtype, copy=True)
        self.num_streamed = frame_idx + 1

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

    def pixel_values(self, frame_idx: int) -> Tensor:
        """Read a frame as the model's input (1, 3, H, W).

        Raises:
            IndexError: if a stream has passed the frame, or ended before it.
        """
        if self.processed is not None:
            return self.processed[frame_idx : frame_idx + 1].to(self.inference_device)
        if self.video is None:
            if self.newest_pixels is None or frame_idx != self.newest:
                raise self.gone_error(frame_idx)
            return self.newest_pixels.to(self.inference_device)
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

    def as_input(self, pixel_values: Tensor) -> Tensor:
        """Bring a stream's frame, (3, H, W) or (1, 3, H, W), to the model's input (1, 3, H, W)."""
        return pixel_values.reshape(1, *pixel_values.shape[-3:]).to(self.inference_device, self.dtype)

    def preprocess(self, frame: Tensor) -> Tensor:
        """Bring a frame (3, height, width) uint8 of the video to the model's input (1, 3, H, W)."""
        return self.move(self.prepare(frame))

    @property
    def prepares_on_cpu(self) -> bool:
        """Whether `prepare` leaves other devices alone, so that it may run beside the model, on another thread."""
        return self.processing_device is None or torch.device(self.processing_device).type == "cpu"

    def prepare(self, frame: Tensor) -> Tensor:
        """First half of `preprocess`: resize and normalise."""
        assert self.image_processor is not None  # checked beside the video
        inputs = self.image_processor(
            frame, input_data_format="channels_first", device=self.processing_device, return_tensors="pt"
        )
        return ready_to_send(inputs["pixel_values"].to(self.dtype), self.inference_device)

    def move(self, pixel_values: Tensor) -> Tensor:
        """Second half of `preprocess`: move to where the model computes."""
        return send(pixel_values, self.inference_device)


def _frames_of(pixel_values: Tensor) -> Tensor:
    """The frames (T, 3, H, W) of one clip, which may come as a batch."""
    frames = pixel_values[0] if pixel_values.ndim == 5 and len(pixel_values) == 1 else pixel_values
    if frames.ndim != 4:
        raise ValueError(
            "video, as the model's input, must have the shape (frames, 3, height, width) or (1, frames, 3, height, "
            f"width), got {tuple(pixel_values.shape)}"
        )
    return frames
