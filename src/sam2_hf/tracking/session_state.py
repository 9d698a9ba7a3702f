"""The state of tracking through one clip or stream: the objects, their prompts, and what is stored of them.

Everything is keyed by the caller's object id, so that removing an object is deleting one entry. The model reads the
state and hands back results; only the session changes it. Pixels are the matter of `frames`, files of
`session_storage`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

from ..arrays import Array, all_moved_to
from ..inputs.lru_cache import LruCache
from ..network.features import FrameFeatures
from .archive import with_source
from .frame_attributes import FrameAttributes
from .frame_result import FrameResult
from .frames import SessionFrames
from .memory.policy import MemoryPolicy
from .memory.registry import PolicySetting, read_policy_setting
from .object_state import ObjectState
from .prompts import Prompt
from .retention import Checkpointed, Retention, RetentionRule, read_retention

if TYPE_CHECKING:
    from .spill import Spill


class SessionState(FrameAttributes, ABC):
    """Everything that is known while one clip or stream is tracked.

    Invariants: `tracks` holds the objects in the order in which their ids were first given. Every pending frame has a
    prompt. Every tensor of an object lies on `inference_state_device`, shares its memory with nothing else, and
    memory features are bfloat16. Pixels are held by `frames` alone.
    """

    holds_tensors: ClassVar[bool] = True
    """Whether its arrays are tensors of torch."""

    def __init__(
        self,
        frames: SessionFrames,
        size: tuple[int | None, int | None],
        retention: Retention | RetentionRule | None = None,
        max_vision_features_cache_size: int = 1,
        state_device: Any = None,
        memory_policy: PolicySetting | None = None,
    ):
        """Start without objects.

        Args:
            frames: where the pixels come from.
            size: (height, width) of the original frames in pixels; None where it is not known yet.
            retention: "checkpointed" keeps masks, pointers and scores of all frames, and memories at checkpoints;
                what else a correction or going back needs is computed again. "everything" keeps all results as they
                are. "readable" keeps what a later frame can still read, a constant amount an object, and only goes
                onward. By default "checkpointed" for a clip that can be sought in, else "readable". A
                `tracking.retention.Checkpointed` has settings.
            max_vision_features_cache_size: how many frames' features are kept for prompts on the same frame.
            state_device: where memories, masks and scores are kept.
            memory_policy: what objects read, keep and promote: a name such as "visible", a dict of the name and
                settings, or a policy; that of the model by default.

        Raises:
            ValueError: for a setting out of its range.
        """
        self.rule = read_retention(retention, frames.is_seekable)
        self.spill = _spill_of(self.rule)
        self.frames = frames
        self.video_height, self.video_width = size
        self.inference_state_device = state_device
        self.memory_policy = read_policy_setting(memory_policy)
        self.tracks: dict[Hashable, ObjectState] = {}
        self.feature_cache = LruCache[int, FrameFeatures](
            max_vision_features_cache_size, "max_vision_features_cache_size"
        )
        self.last_visited: int | None = None
        """The frame in which all objects were brought up to date last; None before the first."""
        self._next_version = 1
        self._user = threading.RLock()

    @property
    def retention(self) -> Retention:
        """The name of what is kept; `rule` has its settings."""
        return self.rule.name

    @contextmanager
    def used_by_this_thread(self) -> Iterator[None]:
        """Keep other threads out while a step is computed or the objects change.

        Raises:
            RuntimeError: if another thread is inside.
        """
        if not self._user.acquire(blocking=False):
            raise RuntimeError(
                "the session is used by another thread: give every thread a session of its own, or let them take turns"
            )
        try:
            yield
        finally:
            self._user.release()

    # Frames

    def check_next_frame(
        self, pixel_values: Array, frame_idx: SupportsIndex | None, size: tuple[int, int], channels: int = 3
    ) -> int:
        """Return the index that `add_frame` will give; see `SessionFrames.check_next`.

        Raises:
            ValueError: for pixels that are none of the next frame.
            IndexError: for an index that the stream has passed, or that would pass over pending prompts.
        """
        index = self.frames.check_next(pixel_values, frame_idx, size, channels)
        passed_over = [frame for frame in self.pending_frames() if self.frames.num_streamed <= frame < index]
        if passed_over:
            raise IndexError(f"frame_idx {index} would pass over frame {passed_over[0]}, on which prompts wait")
        return index

    def next_frame(self, reverse: bool = False) -> int:
        """The frame after the one visited last; before the first, the earliest with a prompt, or the last in reverse.

        It may lie outside the clip.
        """
        if self.last_visited is not None:
            return self.last_visited + (-1 if reverse else 1)
        prompted = [frame for track in self.tracks.values() for frame in track.prompted_frames()]
        return (max if reverse else min)(prompted, default=0)

    def is_gone(self, frame_idx: int) -> bool:
        """Whether a stream has passed the frame, so that nothing can be computed there any more. Reads nothing."""
        return frame_idx not in self.feature_cache and self.frames.is_gone(frame_idx)

    def check_not_gone(self, frame_idx: int) -> None:
        """Check that a frame can be visited.

        Raises:
            IndexError: for a frame of a stream that has passed, or that only the caller can give.
        """
        if self.frames.is_handed_over and frame_idx >= self.frames.num_streamed:
            raise IndexError(f"frame {frame_idx} of the stream has not come yet: hand it over as frame")
        if self.is_gone(frame_idx) and not self._holds_masks(frame_idx):
            raise self.frames.gone_error(frame_idx)

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
        """Give objects, known or new, prompts on a frame, in place of those they had there.

        The prompts are segmented when the model is next called.

        Args:
            frame_idx: the index of the frame.
            prompts: by object id.
            keep_old_points: add points to the points already there.

        Raises:
            TypeError: for an index that is no integer.
            IndexError: for a frame that the clip does not have, or a stream has passed.
            ValueError: for an id that is not equal to itself, such as NaN.
        """
        frame_idx = self.check_frame_idx(frame_idx)
        if self.is_gone(frame_idx):
            raise self.frames.gone_error(frame_idx)
        for obj_id in prompts:
            if obj_id != obj_id:
                raise ValueError(f"obj_ids must be equal to themselves to be found again, got {obj_id!r}")
        stored = {obj_id: prompt.stored_on(self.inference_state_device) for obj_id, prompt in prompts.items()}
        with self.used_by_this_thread():
            for obj_id, prompt in stored.items():
                self.tracks.setdefault(obj_id, ObjectState()).add_prompt(frame_idx, prompt, keep_old_points)

    def clear_prompts(self, frame_idx: int, obj_id: Hashable, keep_result: bool = False) -> None:
        """Take back an object's prompts on a frame, as if they had never been given.

        Their result is dropped, and what was tracked from it alone. A frame without prompts is left as it is.

        Args:
            frame_idx: the index of the frame.
            obj_id: the object.
            keep_result: keep what was tracked from the prompts, and their result as a memory that no longer
                conditions, as Meta's predictor does. A result that nothing was tracked from yet is dropped all the
                same.

        Raises:
            KeyError: for an unknown object.
        """
        with self.used_by_this_thread():
            track, frame_idx = self._track(obj_id), self.check_frame_idx(frame_idx)
            (track.release_prompt if keep_result else track.take_back_prompt)(frame_idx)

    def remove_object(self, obj_id: Hashable) -> None:
        """Forget an object; the others are not touched.

        Raises:
            KeyError: for an unknown object.
        """
        with self.used_by_this_thread():
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
        return [frame for frame in pending if frame < max(next_frame, self.frames.num_streamed)]

    def reset_tracking_data(self) -> None:
        """Forget all objects, prompts and results; the video stays open and its newest features are kept."""
        with self.used_by_this_thread():
            self.tracks.clear()
            self.last_visited = None

    def reset_inference_session(self) -> None:
        """Forget all objects, prompts, results and features; the video stays open."""
        self.reset_tracking_data()
        self.feature_cache.clear()

    def _track(self, obj_id: Hashable) -> ObjectState:
        if obj_id not in self.tracks:
            raise KeyError(f"obj_id {obj_id!r} is not in this session, which has {self.obj_ids}")
        return self.tracks[obj_id]

    # Results

    def store(self, frame_idx: int, results: Mapping[Hashable, FrameResult]) -> None:
        """Keep a frame's results: the one place where they change device and dtype."""
        # All copies are made before the first is kept: memory may run out.
        stored = {obj_id: result.stored_on(self.inference_state_device) for obj_id, result in results.items()}
        for obj_id, result in stored.items():
            numbered = self._numbered(result)
            recorded = with_source(numbered, frame_idx) if self.rule.records else numbered
            self.tracks[obj_id].add_result(frame_idx, recorded)

    def _numbered(self, result: FrameResult) -> FrameResult:
        """A result with the next version; those of its other paths with the ones after."""
        version = self._next_version
        self._next_version += 1
        return replace(result, version=version, alternatives=tuple(map(self._numbered, result.alternatives)))

    def fetch(self, arrays: Sequence[Array]) -> list[Array]:
        """Bring stored arrays to where the state is kept, from wherever they lie."""
        return all_moved_to(arrays, self.inference_state_device)

    def prune(self, policy: MemoryPolicy, frame_idx: int, reverse: bool) -> None:
        """Drop what the session need not retain once tracking has passed a frame."""
        for track in self.tracks.values():
            blocks = self.rule.prune(track, policy, frame_idx, reverse, self.is_seekable)
            if blocks and self.spill is not None:
                self.spill.add(blocks)

    def settle_prompts(self) -> None:
        """Note that tracking sets out, from the prompts segmented so far: from now on prompts read them, too."""
        for track in self.tracks.values():
            track.superseded.clear()

    def mark_tracked(self, frame_idx: int, obj_ids: Iterable[Hashable], reverse: bool) -> None:
        """Note that tracking passed a frame; a prompt that comes later then corrects these objects there."""
        for obj_id in obj_ids:
            results = self.tracks[obj_id].results
            entry = results.entry(frame_idx)
            if entry is not None and entry.tracked_in_reverse != reverse:
                results[frame_idx] = replace(results[frame_idx], tracked_in_reverse=reverse)

    # For files

    @abstractmethod
    def describe_settings(self) -> dict[str, Any]:
        """How frames become the model's input, as JSON can hold it: "dtype" and "image_processor".

        Raises:
            TypeError: for a session that cannot be saved.
        """

    @classmethod
    @abstractmethod
    def from_settings(cls, description: Mapping[str, Any], **settings: Any) -> Any:
        """Open a session without objects, for loading.

        Args:
            description: has what `describe_settings` gave.
            settings: video, video_height, video_width, max_vision_features_cache_size, retention, and what a caller
                gave beside.
        """

    def stream_state(self) -> tuple[int, Array | None, int]:
        """For saving: the number of frames streamed, the newest one's pixels, and the version to be given next."""
        return self.frames.num_streamed, self.frames.newest_pixels, self._next_version

    def restore_stream(self, num_streamed: int, newest: Array | None, next_version: int) -> None:
        """For loading: take up what `stream_state` gave."""
        self.frames.num_streamed, self.frames.newest_pixels = num_streamed, newest
        self._next_version = next_version


def _spill_of(rule: RetentionRule) -> Spill | None:
    """Where state is kept in files; None for the memory of the host."""
    if not isinstance(rule, Checkpointed) or rule.directory is None:
        return None
    from .spill import Spill

    return Spill(rule.directory)
