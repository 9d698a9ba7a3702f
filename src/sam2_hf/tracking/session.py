"""The state of tracking through one clip or stream: its frames, the objects, and what is remembered of them.

Everything is keyed by the caller's object id, so that removing an object is deleting one entry. The model reads the
state and hands back results; only the session changes it.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import torch
from torch import Tensor

from ..fast.array_ops import ready_to_send, send
from ..video_io.source import FrameUnavailableError
from .feature_cache import FeatureCache
from .memory_bank import MemoryRule
from .object_state import FrameResult, ObjectTrack, Prompt

if TYPE_CHECKING:
    from ..image_processing_sam2 import Sam2ImageProcessor
    from ..video_io.source import VideoSource

Retention = Literal["everything", "readable"]


class Sam2VideoInferenceSession:
    """Everything that tracking through one clip remembers.

    Invariants: `tracks` holds the objects in the order in which their ids were first given. Every pending frame has a
    prompt. Every tensor of an object lies on `inference_state_device`, shares its memory with nothing else, and
    memory features are bfloat16. Of a stream, at most the pixels of its newest frame are held, on
    `video_storage_device`; of a clip, none that its source can give again.
    """

    def __init__(
        self,
        video: VideoSource | None = None,
        video_height: int | None = None,
        video_width: int | None = None,
        inference_device: torch.device | str = "cpu",
        inference_state_device: torch.device | str | None = None,
        video_storage_device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        max_vision_features_cache_size: int = 1,
        image_processor: Sam2ImageProcessor | None = None,
        processing_device: torch.device | str | None = None,
        retention: Retention | None = None,
    ):
        """Starts without objects. `Sam2VideoProcessor.init_video_session` is the usual way here.

        Args:
            video: where frames come from; None for a stream, whose frames are handed to the model one by one.
            video_height: the height of the original frames in pixels; taken from `video` if there is one.
            video_width: likewise.
            inference_device: where frames are computed.
            inference_state_device: where memories, masks and scores are kept.
            video_storage_device: where pixels are kept while they are needed.
            dtype: of the pixels handed to the model, which computes in its own.
            max_vision_features_cache_size: how many frames' features are kept for prompts on the same frame.
            image_processor: turns a frame of `video` into the model's input; needed with `video`.
            processing_device: where frames of `video` are resized; where they come from by default.
            retention: "everything" keeps all results, so that going back and correcting stay exact; "readable" keeps
                what a later frame can still read, a constant amount an object, and only goes onward. By default
                "everything" for a clip that can be sought in, else "readable".
        """
        if retention not in (None, "everything", "readable"):
            raise ValueError(f'retention must be "everything" or "readable", got {retention!r}')
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype must be that of floating-point pixels, such as torch.float32, got {dtype!r}")
        if video is not None and image_processor is None:
            raise ValueError(
                "a session over a video needs an image_processor; use Sam2VideoProcessor.init_video_session"
            )
        self.video = video
        self.video_height = video.height if video is not None else video_height
        self.video_width = video.width if video is not None else video_width
        self.inference_device = torch.device(inference_device)
        self.inference_state_device = torch.device(inference_state_device or inference_device)
        self.video_storage_device = torch.device(video_storage_device or inference_device)
        self.processing_device = processing_device
        self.dtype = dtype
        self.image_processor = image_processor
        self.is_seekable = video is not None and video.seekable
        self.retention: Retention = retention or ("everything" if self.is_seekable else "readable")
        self.tracks: dict[Hashable, ObjectTrack] = {}
        self.feature_cache = FeatureCache(max_vision_features_cache_size)
        self._newest_pixels: Tensor | None = None
        self._num_streamed = 0  # frames of a stream that have come so far, handed over or read
        self._next_version = 1

    # Frames

    @property
    def num_frames(self) -> int | None:
        """Frames of the clip, None if its end is not known; of a stream, the frames so far."""
        return self.video.num_frames if self.video is not None else self._num_streamed

    @property
    def num_frames_total(self) -> int | None:
        """Frames of the clip, None for a stream or a source without a known end."""
        return self.video.num_frames if self.video is not None else None

    @property
    def newest_streamed(self) -> int | None:
        """The last frame of a stream that has come, None before the first and for clips."""
        return self._num_streamed - 1 if self._num_streamed > 0 else None

    def check_frame_idx(self, frame_idx: SupportsIndex) -> int:
        """The index as an int; raises an `IndexError` or `TypeError` unless it names a frame of the clip."""
        try:
            index = operator.index(frame_idx)
        except TypeError:
            index = None
        if index is None or isinstance(frame_idx, bool):
            raise TypeError(f"frame_idx must be an int, got {frame_idx!r}")
        total = self.num_frames_total
        if index < 0 or (total is not None and index >= total):
            bounds = f"in 0..{total - 1}" if total is not None else "0 or above"
            raise IndexError(f"frame_idx must be {bounds}, got {index}")
        return index

    def check_next_frame(self, pixel_values: Tensor, frame_idx: SupportsIndex | None, size: tuple[int, int]) -> int:
        """The index that `add_frame` will give; raises unless these are pixels of `size` for the next frame."""
        if self.video is not None:
            raise ValueError(
                "this session reads its frames from a video; call the model with frame_idx instead of frame"
            )
        given = tuple(pixel_values.shape) if isinstance(pixel_values, Tensor) else type(pixel_values).__name__
        if given not in ((3, *size), (1, 3, *size)):
            raise ValueError(f"frame must be one frame's pixel_values of the processor, {(3, *size)}, got {given}")
        if not pixel_values.is_floating_point() or not bool(pixel_values.isfinite().all()):
            what = "NaN or infinite values" if pixel_values.is_floating_point() else pixel_values.dtype
            raise ValueError(f"frame must be normalised, finite pixel_values as the processor gives them, got {what}")
        index = self._num_streamed if frame_idx is None else self.check_frame_idx(frame_idx)
        if index < self._num_streamed:
            raise IndexError(f"a stream only goes on: the next frame_idx is {self._num_streamed} or above, got {index}")
        passed_over = [frame for frame in self.pending_frames() if self._num_streamed <= frame < index]
        if passed_over:
            raise IndexError(f"frame_idx {index} would pass over frame {passed_over[0]}, on which prompts wait")
        return index

    def add_frame(self, pixel_values: Tensor, frame_idx: int) -> None:
        """Takes the next frame of a stream, checked by `check_next_frame`."""
        # A copy: the caller may fill the same buffer with the next frame before this one is prompted.
        pixels = pixel_values.reshape(1, *pixel_values.shape[-3:])
        self._newest_pixels = pixels.to(self.video_storage_device, self.dtype, copy=True)
        self._num_streamed = frame_idx + 1

    def as_input(self, pixel_values: Tensor) -> Tensor:
        """A stream's frame, (3, H, W) or (1, 3, H, W), as the model's input (1, 3, H, W)."""
        return pixel_values.reshape(1, *pixel_values.shape[-3:]).to(self.inference_device, self.dtype)

    def pixel_values(self, frame_idx: int) -> Tensor:
        """A frame as the model's input (1, 3, H, W)."""
        if self.video is None:
            if self._newest_pixels is None or frame_idx != self.newest_streamed:
                raise self._gone(frame_idx)
            return self._newest_pixels.to(self.inference_device)
        if not self.is_seekable:
            self.wait_for(frame_idx)
        return self.preprocess(self.video[frame_idx])

    def preprocess(self, frame: Tensor) -> Tensor:
        """A picture (3, height, width) uint8 of the video as the model's input (1, 3, H, W)."""
        return self.place(self.prepare(frame))

    @property
    def prepares_on_cpu(self) -> bool:
        """Whether `prepare` leaves other devices alone, so that it may run beside the model, on another thread."""
        return self.processing_device is None or torch.device(self.processing_device).type == "cpu"

    def prepare(self, frame: Tensor) -> Tensor:
        """First half of `preprocess`: resized and normalised."""
        assert self.image_processor is not None  # checked beside the video
        inputs = self.image_processor(
            frame, input_data_format="channels_first", device=self.processing_device, return_tensors="pt"
        )
        return ready_to_send(inputs["pixel_values"].to(self.dtype), self.inference_device)

    def place(self, pixel_values: Tensor) -> Tensor:
        """Second half of `preprocess`: where the model computes."""
        return send(pixel_values, self.inference_device)

    def reaches(self, frame_idx: int) -> bool:
        """Whether a video of unknown length goes on to this frame; waits for it if need be."""
        assert self.video is not None
        try:
            self.video[frame_idx]
        except IndexError:
            return False
        except FrameUnavailableError:
            pass  # it has gone by
        self._num_streamed = max(self._num_streamed, frame_idx + 1)
        return True

    def check_not_gone(self, frame_idx: int) -> None:
        """Raises an `IndexError` for a frame of a stream that has passed, or that only the caller can give."""
        if self.video is None and frame_idx >= self._num_streamed:
            raise IndexError(f"frame {frame_idx} of the stream has not come yet: hand it over as frame")
        if self.is_gone(frame_idx) and not self._holds_masks(frame_idx):
            raise self._gone(frame_idx)

    def wait_for(self, frame_idx: int) -> None:
        """Goes on to a frame, if a source without a known end gives them; an `IndexError` if it ends before."""
        if self.video is not None and not self.is_seekable and not self.reaches(frame_idx):
            raise IndexError(f"the stream ended before frame {frame_idx}")

    def is_gone(self, frame_idx: int) -> bool:
        """Whether a stream has passed the frame, so that nothing can be computed there any more."""
        if self.is_seekable or frame_idx >= self._num_streamed or frame_idx in self.feature_cache:
            return False
        if self.video is None:
            return self._newest_pixels is None or frame_idx != self.newest_streamed
        try:
            self.video[frame_idx]
        except FrameUnavailableError:
            return True
        return False

    def _gone(self, frame_idx: int) -> IndexError:
        return IndexError(
            f"frame {frame_idx} of the stream is gone; the newest frame, {self.newest_streamed}, and those to come can "
            "be prompted and visited"
        )

    def _holds_masks(self, frame_idx: int) -> bool:
        results = (track.results.get(frame_idx) for track in self.tracks.values())
        return any(result is not None and result.mask_logits is not None for result in results)

    # Objects and prompts

    @property
    def obj_ids(self) -> list[Hashable]:
        """The ids of the objects, in the order of the outputs' rows; a list of the caller's own."""
        return list(self.tracks)

    @property
    def state_nbytes(self) -> int:
        """Bytes of all that is stored of the objects: prompts, masks, scores and memories."""
        return sum(tensor.nbytes for track in self.tracks.values() for tensor in track.tensors())

    def add_prompts(self, frame_idx: int, prompts: Mapping[Hashable, Prompt], keep_old_points: bool = False) -> None:
        """Gives objects, known or new, prompts on a frame, in the place of those they had there.

        `keep_old_points` adds points to the points already there. The prompts are segmented when the model is next
        called.
        """
        frame_idx = self.check_frame_idx(frame_idx)
        if self.is_gone(frame_idx):
            raise self._gone(frame_idx)
        stored = {obj_id: prompt.stored_on(self.inference_state_device) for obj_id, prompt in prompts.items()}
        for obj_id, prompt in stored.items():
            self.tracks.setdefault(obj_id, ObjectTrack()).add_prompt(frame_idx, prompt, keep_old_points)

    def clear_prompts(self, frame_idx: int, obj_id: Hashable) -> None:
        """Takes back an object's prompts on a frame, as if they had never been given.

        Their result is dropped, and what was tracked from it alone. Raises a `KeyError` for an unknown object. A frame
        without prompts is left as it is.
        """
        self._track(obj_id).take_back_prompt(self.check_frame_idx(frame_idx))

    def remove_object(self, obj_id: Hashable) -> None:
        """Forgets an object; the others are not touched. Raises a `KeyError` for an unknown one."""
        self._track(obj_id)
        del self.tracks[obj_id]

    def pending_frames(self) -> list[int]:
        """Frames with prompts that are not yet segmented, in order."""
        return sorted({frame for track in self.tracks.values() for frame in track.pending})

    def waiting_frames(self, next_frame: int) -> list[int]:
        """Pending frames that can be segmented before `next_frame` is visited: all; of a stream, those up to it."""
        pending = self.pending_frames()
        if self.is_seekable:
            return pending
        return [frame for frame in pending if frame < max(next_frame, self._num_streamed)]

    def reset_tracking_data(self) -> None:
        """Forgets all objects, prompts and results; the video stays open and its newest features are kept."""
        self.tracks.clear()

    def reset_inference_session(self) -> None:
        """Forgets all objects, prompts, results and features; the video stays open."""
        self.reset_tracking_data()
        self.feature_cache.clear()

    def _track(self, obj_id: Hashable) -> ObjectTrack:
        if obj_id not in self.tracks:
            raise KeyError(f"obj_id {obj_id!r} is not in this session, which has {self.obj_ids}")
        return self.tracks[obj_id]

    # Results

    def store(self, frame_idx: int, results: Mapping[Hashable, FrameResult]) -> None:
        """Keeps a frame's results: the one place where they change device and dtype."""
        # All copies are made before the first is kept: memory may run out.
        stored = {obj_id: result.stored_on(self.inference_state_device) for obj_id, result in results.items()}
        for obj_id, result in stored.items():
            self.tracks[obj_id].add_result(frame_idx, replace(result, version=self._next_version))
            self._next_version += 1

    def prune(self, rule: MemoryRule, frame_idx: int, reverse: bool) -> None:
        """Forgets what tracking from here onward cannot read, if that is what the session retains."""
        if self.retention == "readable":
            for track in self.tracks.values():
                track.forget_unreadable(rule, frame_idx, reverse, keep_prompted=self.is_seekable)

    def settle_prompts(self) -> None:
        """Notes that tracking sets out, from the prompts segmented so far: from now on prompts read them, too."""
        for track in self.tracks.values():
            track.superseded.clear()

    def mark_tracked(self, frame_idx: int, obj_ids: Iterable[Hashable], reverse: bool) -> None:
        """Notes that tracking passed a frame; a prompt that comes later then corrects these objects there."""
        for obj_id in obj_ids:
            results = self.tracks[obj_id].results
            results[frame_idx] = replace(results[frame_idx], tracked_in_reverse=reverse)

    # On disk

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the session into a folder as safetensors and JSON, in the place of one that is there already.

        A save that is cut short leaves the earlier one readable. The video itself is not written. Raises a
        `TypeError` for an object id that JSON cannot hold.
        """
        from .session_storage import save_session

        save_session(self, directory)

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        video: Any = None,
        inference_device: torch.device | str = "cpu",
        inference_state_device: torch.device | str | None = None,
        video_storage_device: torch.device | str | None = None,
        processing_device: torch.device | str | None = None,
    ) -> Sam2VideoInferenceSession:
        """Reads a session back; going on from there gives what going on without a break would have given.

        `video` is the clip that the session was opened on, in any of the forms of
        `Sam2VideoProcessor.init_video_session`; None for a stream. The devices may be others than before. Raises a
        `FileNotFoundError` or `ValueError` for a folder that holds no session, or a video that is not the session's.
        """
        from ..video_io.open_video import open_video
        from .session_storage import load_session

        return load_session(
            directory,
            None if video is None else open_video(video),
            inference_device=inference_device,
            inference_state_device=inference_state_device,
            video_storage_device=video_storage_device,
            processing_device=processing_device,
        )

    def stream_state(self) -> tuple[int, Tensor | None, int]:
        """For saving: the number of frames streamed, the newest one's pixels, and the version to be given next."""
        return self._num_streamed, self._newest_pixels, self._next_version

    def restore_stream(self, num_streamed: int, newest: Tensor | None, next_version: int) -> None:
        """For loading: takes up what `stream_state` gave."""
        self._num_streamed, self._newest_pixels, self._next_version = num_streamed, newest, next_version

    def __repr__(self) -> str:
        source = "stream" if self.video is None else repr(self.video)
        return f"{type(self).__name__}({source}, objects={self.obj_ids}, retention={self.retention!r})"

    def __getstate__(self) -> Any:
        raise TypeError("a session is not pickled; use session.save(directory)")
