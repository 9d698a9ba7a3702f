"""The frames of sessions in torch: on which device and in which dtype they are prepared, kept and handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..inputs.plain_values import is_finite
from ..inputs.transfer import ready_to_send, send
from .frames import SessionFrames

if TYPE_CHECKING:
    from ..image_processing_sam2 import Sam2ImageProcessor
    from ..video_io.source import VideoSource


class DeviceFrames(SessionFrames):
    """The frames of one session as tensors.

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
        super().__init__(None if isinstance(video, Tensor) else video, is_handed_over=video is None)
        self.processed = _frames_of(video).to(storage_device, dtype) if isinstance(video, Tensor) else None
        """The frames of a clip that was given as the model's input."""
        self.image_processor = image_processor
        self.dtype = dtype
        self.inference_device = inference_device
        self.storage_device = storage_device
        self.processing_device = processing_device

    @property
    def is_seekable(self) -> bool:
        """Whether any frame can be read at any time."""
        return self.processed is not None or super().is_seekable

    @property
    def total(self) -> int | None:
        """Number of frames of the clip; None for a stream or a source without a known end."""
        return super().total if self.processed is None else len(self.processed)

    def check_pixels(self, pixel_values: Tensor, size: tuple[int, int], channels: int = 3) -> None:
        """Refuse another shape than that of a frame, and what is no floating-point or, on the CPU, not finite numbers.

        Raises:
            ValueError: says what came.
        """
        given = tuple(pixel_values.shape) if isinstance(pixel_values, Tensor) else type(pixel_values).__name__
        shape = (channels, *size)
        if given not in (shape, (1, *shape)):
            raise ValueError(
                f"frame must be one frame's pixel_values of the processor, {shape}, got {given}; make it with "
                'processor(images=image, return_tensors="pt")["pixel_values"][0], which resizes images of every size'
            )
        if not pixel_values.is_floating_point() or not is_finite(pixel_values):
            what = "NaN or infinite values" if pixel_values.is_floating_point() else pixel_values.dtype
            raise ValueError(f"frame must be normalised, finite pixel_values as the processor gives them, got {what}")

    def add(self, pixel_values: Tensor, frame_idx: int) -> None:
        """Take the next frame of a stream, checked by `check_next`."""
        # A copy: the caller may fill the same buffer with the next frame before this one is prompted.
        pixels = pixel_values.reshape(1, *pixel_values.shape[-3:])
        self.newest_pixels = pixels.to(self.storage_device, self.dtype, copy=True)
        self.num_streamed = frame_idx + 1

    def pixel_values(self, frame_idx: int) -> Tensor:
        """Read a frame as the model's input (1, 3, H, W).

        Raises:
            IndexError: if a stream has passed the frame, or ended before it.
        """
        if self.processed is not None:
            return self.processed[frame_idx : frame_idx + 1].to(self.inference_device)
        return super().pixel_values(frame_idx)

    def as_input(self, pixel_values: Tensor) -> Tensor:
        """Bring a stream's frame, (3, H, W) or (1, 3, H, W), to the model's input (1, 3, H, W)."""
        return pixel_values.reshape(1, *pixel_values.shape[-3:]).to(self.inference_device, self.dtype)

    @property
    def prepare_ahead(self) -> Callable[[Tensor], Tensor] | None:
        """`prepare` for a thread that reads beside the model; None if it needs an accelerator.

        CUDA work stays on the model's thread, behind what the model has yet to do.
        """
        if self.processing_device is not None and torch.device(self.processing_device).type != "cpu":
            return None
        # Tensors of inference mode and others are not compiled alike, and the mode is a thread's own.
        return torch.inference_mode()(self.prepare)

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

    def join(self, pixels: list[Tensor]) -> Tensor:
        """Lay pixels (1, 3, H, W) of several frames one behind the other."""
        return torch.cat(pixels)


def _frames_of(pixel_values: Tensor) -> Tensor:
    """The frames (T, 3, H, W) of one clip, which may come as a batch."""
    frames = pixel_values[0] if pixel_values.ndim == 5 and len(pixel_values) == 1 else pixel_values
    if frames.ndim != 4:
        raise ValueError(
            "video, as the model's input, must have the shape (frames, 3, height, width) or (1, frames, 3, height, "
            f"width), got {tuple(pixel_values.shape)}"
        )
    return frames
