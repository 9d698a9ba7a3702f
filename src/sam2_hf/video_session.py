"""The state of tracking through one clip: objects, their prompts and what is remembered of them.

Everything is keyed by the caller's object id, so that removing an object is deleting one entry. Only this file
writes the state; the model reads it and hands back results.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from .memory_bank import MemoryRule, MemorySelection, retained_frames, select_memory
from .video_base import FrameUnavailableError

if TYPE_CHECKING:
    from .image_processing_sam2 import Sam2ImageProcessor
    from .video_base import VideoSource

Retention = Literal["everything", "readable"]
# Memory features are kept in half the space, whatever the model computes in; the official code does the same.
MEMORY_DTYPE = torch.bfloat16


@dataclass(frozen=True)
class PointPrompt:
    """Points (N, 2) as (x, y) in pixels of the model's input, with labels (N,): 1 foreground, 0 background, and
    2, 3 for the corners of a box, which come first."""

    points: Tensor
    labels: Tensor

    def followed_by(self, other: PointPrompt) -> PointPrompt:
        """This prompt and then the other one's points."""
        return PointPrompt(torch.cat((self.points, other.points)), torch.cat((self.labels, other.labels)))


@dataclass(frozen=True)
class MaskPrompt:
    """The object's mask (H, W) bool, at the model's input size."""

    mask: Tensor


Prompt = PointPrompt | MaskPrompt
# The frames whose memories, and those whose pointers, went into a result, each with the version that was read.
Provenance = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class FrameMemory:
    """What later frames attend to: features (D, h, w), None once only the pointer (C,) can still be read."""

    features: Tensor | None
    pointer: Tensor


@dataclass(frozen=True)
class FrameResult:
    """One object in one frame.

    `mask_logits` (1, h, w), `object_score` (1,), `iou` (1,). `tracked_in_reverse` is the direction in which tracking
    passed the frame, None before it did. `provenance` is what a tracked result was computed from; None if it cannot
    be told, and the result must be computed anew when the frame is visited.
    """

    mask_logits: Tensor | None
    object_score: Tensor
    iou: Tensor
    memory: FrameMemory
    is_conditioning: bool
    tracked_in_reverse: bool | None = None
    provenance: Provenance | None = None
    version: int = 0


@dataclass
class ObjectTrack:
    """One object: prompts and results by frame; `pending` are the frames whose prompt is not yet segmented."""

    prompts: dict[int, Prompt] = field(default_factory=dict)
    results: dict[int, FrameResult] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)

    def conditioning_frames(self) -> list[int]:
        return [frame for frame, result in self.results.items() if result.is_conditioning]

    def tracked_frames(self) -> list[int]:
        return [frame for frame, result in self.results.items() if not result.is_conditioning]

    def prompted_frames(self) -> set[int]:
        """Frames that condition the object, or will once their prompt is segmented."""
        return self.pending.union(self.conditioning_frames())

    def select_memory(self, rule: MemoryRule, frame_idx: int, reverse: bool) -> MemorySelection:
        """What the object reads in a frame, from the history as it is now."""
        return select_memory(rule, frame_idx, self.conditioning_frames(), set(self.tracked_frames()), reverse)

    def provenance(self, selection: MemorySelection) -> Provenance:
        """The selection with the versions of what it names."""
        return (
            tuple((slot.frame, self.results[slot.frame].version) for slot in selection.memories),
            tuple((slot.frame, self.results[slot.frame].version) for slot in selection.pointers),
        )

    def forget_unreadable(self, rule: MemoryRule, frame_idx: int, reverse: bool) -> None:
        """Drops what no frame after `frame_idx` can read. Of that frame itself, all is kept for corrections."""
        keep = retained_frames(rule, frame_idx, self.conditioning_frames(), self.tracked_frames(), reverse)
        for frame in [frame for frame in self.results if frame != frame_idx]:
            if frame in keep.features:
                self.results[frame] = replace(self.results[frame], mask_logits=None)
            elif frame in keep.pointers:
                memory = FrameMemory(None, self.results[frame].memory.pointer)
                self.results[frame] = replace(self.results[frame], mask_logits=None, memory=memory)
            else:
                del self.results[frame]
        self.prompts = {
            frame: prompt for frame, prompt in self.prompts.items() if frame == frame_idx or frame in self.pending
        }


class FrameFeatures(NamedTuple):
    """A frame as the model sees it: the two finer maps for the mask decoder, (1, C/8, 4h, 4w) and (1, C/4, 2h, 2w),
    and the coarsest (1, C, h, w), free of any memory."""

    fine: tuple[Tensor, Tensor]
    coarsest: Tensor


class FeatureCache:
    """The features of the frames last used, at most `size` of them."""

    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f"max_vision_features_cache_size must be at least 1, got {size}")
        self.size = size
        self._entries: OrderedDict[int, FrameFeatures] = OrderedDict()

    def get(self, frame_idx: int) -> FrameFeatures | None:
        if frame_idx in self._entries:
            self._entries.move_to_end(frame_idx)
        return self._entries.get(frame_idx)

    def put(self, frame_idx: int, features: FrameFeatures) -> None:
        self._entries[frame_idx] = features
        self._entries.move_to_end(frame_idx)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, frame_idx: int) -> bool:
        return frame_idx in self._entries


class Sam2VideoInferenceSession:
    """Everything that tracking through one clip remembers.

    Invariants: `tracks` holds the objects in the order in which their ids were first given. Every pending frame has a
    prompt. Every stored tensor lies on `inference_state_device` and memory features are bfloat16. Of a stream, at
    most the pixels of its newest frame are held; of a clip, none that its source can give again.
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
        seekable = video is not None and video.seekable
        self.retention: Retention = retention or ("everything" if seekable else "readable")
        self.tracks: dict[Hashable, ObjectTrack] = {}
        self.feature_cache = FeatureCache(max_vision_features_cache_size)
        self._newest_streamed: tuple[int, Tensor] | None = None
        self._num_streamed = 0
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

    def check_frame_idx(self, frame_idx: int) -> None:
        """Raises an `IndexError` or `TypeError` unless `frame_idx` names a frame of the clip."""
        if isinstance(frame_idx, bool) or not isinstance(frame_idx, Integral):
            raise TypeError(f"frame_idx must be an int, got {frame_idx!r}")
        total = self.num_frames_total
        if frame_idx < 0 or (total is not None and frame_idx >= total):
            bounds = f"in 0..{total - 1}" if total is not None else "0 or above"
            raise IndexError(f"frame_idx must be {bounds}, got {frame_idx}")

    def add_frame(self, pixel_values: Tensor, frame_idx: int | None = None) -> int:
        """Takes the next frame of a stream, preprocessed, (3, H, W) or (1, 3, H, W); returns its index."""
        if self.video is not None:
            raise ValueError(
                "this session reads its frames from a video; call the model with frame_idx instead of frame"
            )
        if not isinstance(pixel_values, Tensor) or pixel_values.ndim not in (3, 4) or pixel_values.shape[-3] != 3:
            given = tuple(pixel_values.shape) if isinstance(pixel_values, Tensor) else type(pixel_values).__name__
            raise ValueError(f"frame must be pixel_values of the processor, (3, height, width), got {given}")
        if pixel_values.ndim == 4 and len(pixel_values) != 1:
            raise ValueError(f"frame must be one frame, got {len(pixel_values)}")
        expected = self._num_streamed
        if frame_idx is not None and frame_idx < expected:
            raise IndexError(f"a stream only goes on: the next frame_idx is {expected} or above, got {frame_idx}")
        frame_idx = expected if frame_idx is None else frame_idx
        pixels = pixel_values.reshape(1, *pixel_values.shape[-3:])
        self._newest_streamed = (frame_idx, pixels.to(self.video_storage_device, self.dtype))
        self._num_streamed = frame_idx + 1
        return frame_idx

    def pixel_values(self, frame_idx: int, frame: Tensor | None = None) -> Tensor:
        """A frame as the model's input (1, 3, H, W); `frame` is its picture if the caller has read it already."""
        if self.video is None:
            if self._newest_streamed is None or self._newest_streamed[0] != frame_idx:
                newest = None if self._newest_streamed is None else self._newest_streamed[0]
                raise IndexError(f"of a stream only the newest frame can be read, number {newest}; got {frame_idx}")
            return self._newest_streamed[1].to(self.inference_device)
        picture = self.video[frame_idx] if frame is None else frame
        inputs = self.image_processor(
            picture, input_data_format="channels_first", device=self.processing_device, return_tensors="pt"
        )
        return inputs["pixel_values"].to(self.inference_device, self.dtype)

    def holds_frame(self, frame_idx: int) -> bool:
        """Whether the frame can be computed now: from the cache, from the source, or as a stream's newest."""
        if frame_idx in self.feature_cache:
            return True
        if self.video is not None:
            return self.video.seekable
        return self._newest_streamed is not None and self._newest_streamed[0] == frame_idx

    def reaches(self, frame_idx: int) -> bool:
        """Whether a video of unknown length goes on to this frame; waits for it if need be."""
        try:
            self.video[frame_idx]
        except IndexError:
            return False
        except FrameUnavailableError:
            return True  # it has gone by
        return True

    # Objects and prompts

    @property
    def obj_ids(self) -> list[Hashable]:
        """The ids of the objects, in the order of the outputs' rows; a list of the caller's own."""
        return list(self.tracks)

    def add_prompts(self, frame_idx: int, prompts: Mapping[Hashable, Prompt], keep_old_points: bool = False) -> None:
        """Gives objects, known or new, prompts on a frame, in the place of those they had there.

        `keep_old_points` adds points to the points already there. The prompts are segmented when the model next meets
        the frame.
        """
        self.check_frame_idx(frame_idx)
        if self.video is None and frame_idx < self._num_streamed and not self.holds_frame(frame_idx):
            raise IndexError(
                f"frame {frame_idx} of the stream is gone; prompts go on the newest frame, {self._num_streamed - 1}, "
                "or on one to come"
            )
        for obj_id, prompt in prompts.items():
            track = self.tracks.setdefault(obj_id, ObjectTrack())
            old = track.prompts.get(frame_idx)
            if keep_old_points and isinstance(old, PointPrompt) and isinstance(prompt, PointPrompt):
                prompt = old.followed_by(prompt)
            track.prompts[frame_idx] = prompt
            track.pending.add(frame_idx)

    def clear_prompts(self, frame_idx: int, obj_id: Hashable) -> None:
        """Takes back an object's prompts on a frame; what was segmented there no longer conditions the object.

        Raises a `KeyError` for an unknown object. A frame without prompts is left as it is.
        """
        track = self._track(obj_id)
        track.pending.discard(frame_idx)
        if track.prompts.pop(frame_idx, None) is None:
            return
        result = track.results.get(frame_idx)
        if result is not None:
            track.results[frame_idx] = replace(
                result, is_conditioning=False, tracked_in_reverse=None, provenance=None, version=self._new_version()
            )

    def remove_object(self, obj_id: Hashable) -> None:
        """Forgets an object; the others are not touched. Raises a `KeyError` for an unknown one."""
        self._track(obj_id)
        del self.tracks[obj_id]

    def pending_frames(self) -> list[int]:
        """Frames with prompts that are not yet segmented, in order."""
        return sorted({frame for track in self.tracks.values() for frame in track.pending})

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

    def store(
        self,
        rule: MemoryRule,
        frame_idx: int,
        results: Mapping[Hashable, FrameResult],
        reverse: bool = False,
    ) -> None:
        """Keeps a frame's results: the one place where state changes device and dtype, and where it is pruned."""
        for obj_id, result in results.items():
            track = self.tracks[obj_id]
            track.results[frame_idx] = self._to_storage(replace(result, version=self._new_version()))
            track.pending.discard(frame_idx)
        if self.retention == "readable":
            for track in self.tracks.values():
                track.forget_unreadable(rule, frame_idx, reverse)

    def mark_tracked(self, frame_idx: int, obj_ids: Iterable[Hashable], reverse: bool) -> None:
        """Notes that tracking passed a frame; a prompt that comes later then corrects these objects there."""
        for obj_id in obj_ids:
            results = self.tracks[obj_id].results
            results[frame_idx] = replace(results[frame_idx], tracked_in_reverse=reverse)

    def _to_storage(self, result: FrameResult) -> FrameResult:
        # Copies: a view of the batch in which all objects were computed would keep the others' rows alive.
        def keep(tensor: Tensor | None, dtype: torch.dtype | None = None) -> Tensor | None:
            return None if tensor is None else tensor.to(self.inference_state_device, dtype or tensor.dtype, copy=True)

        memory = FrameMemory(keep(result.memory.features, MEMORY_DTYPE), keep(result.memory.pointer))
        return replace(
            result,
            mask_logits=keep(result.mask_logits),
            object_score=keep(result.object_score),
            iou=keep(result.iou),
            memory=memory,
        )

    # On disk

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the session into a folder as safetensors and JSON, in the place of one that is there already.

        A save that is cut short leaves the earlier one readable. The video itself is not written. Raises a
        `TypeError` for an object id that JSON cannot hold.
        """
        from .video_session_storage import save_session

        save_session(self, directory)

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        video: Any = None,
        inference_device: torch.device | str = "cpu",
        inference_state_device: torch.device | str | None = None,
        video_storage_device: torch.device | str | None = None,
    ) -> Sam2VideoInferenceSession:
        """Reads a session back; going on from there gives what going on without a break would have given.

        `video` is the clip that the session was opened on, in any of the forms of
        `Sam2VideoProcessor.init_video_session`; None for a stream. The devices may be others than before. Raises a
        `FileNotFoundError` or `ValueError` for a folder that holds no session, or a video that is not the session's.
        """
        from .video_session_storage import load_session
        from .video_source import open_video

        return load_session(
            directory,
            None if video is None else open_video(video),
            inference_device=inference_device,
            inference_state_device=inference_state_device,
            video_storage_device=video_storage_device,
        )

    def stream_state(self) -> tuple[int, Tensor | None, int]:
        """For saving: the number of frames streamed, the newest one's pixels, and the version to be given next."""
        newest = None if self._newest_streamed is None else self._newest_streamed[1]
        return self._num_streamed, newest, self._next_version

    def restore_stream(self, num_streamed: int, newest: Tensor | None, next_version: int) -> None:
        """For loading: takes up what `stream_state` gave."""
        self._num_streamed, self._next_version = num_streamed, next_version
        self._newest_streamed = None if newest is None else (num_streamed - 1, newest)

    def _new_version(self) -> int:
        self._next_version += 1
        return self._next_version - 1

    def __repr__(self) -> str:
        source = "stream" if self.video is None else repr(self.video)
        return f"{type(self).__name__}({source}, objects={self.obj_ids}, retention={self.retention!r})"

    def __getstate__(self) -> Any:
        raise TypeError("a session is not pickled; use session.save(directory)")
