"""The interface of a memory policy, and what all policies share.

A frame that is tracked attends to two kinds of memory. *Spatial memories* are feature maps of conditioning frames
(those the user prompted) and of a few other frames; *object pointers* are single vectors that reach further back. A
policy decides which frames these are. It sees frame indices and small values alone, never the network.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714), section 4, memory bank.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from ...arrays import Array
from .candidates import MaskCandidates
from .paths import MemoryPath
from .policy_table import name_of
from .selection import (
    ALL_CONDITIONING_FRAMES,
    MemorySelection,
    PointerMemory,
    RetainedFrames,
    SpatialMemory,
    closest_conditioning_frames,
)

if TYPE_CHECKING:
    from ...configuration_sam2 import Sam2VideoConfig
    from .history import History

PolicyT = TypeVar("PolicyT", bound="MemoryPolicy")
PolicyState = dict[str, Any]


class Sighting(NamedTuple):
    """A result, as a policy takes note of it: plain values, read from the device once for all objects.

    Attributes:
        frame: the index of the frame.
        iou_score: the estimated IoU of the mask.
        object_score: above 0 where the object is visible.
        is_prompted: whether a user prompted the object on the frame.
        measured: what `MemoryPolicy.measure` gave for the object; empty where no mask was predicted.
    """

    frame: int
    iou_score: float
    object_score: float
    is_prompted: bool = False
    measured: tuple[float, ...] = ()


class Observation(NamedTuple):
    """What a policy makes of a result.

    Attributes:
        state: goes with the frame, and is what the next frame starts from.
        promotes: whether the frame conditions the object from now on.
        visible: whether `History.visible_before` counts the frame; None for those with an object score above 0.
    """

    state: PolicyState
    promotes: bool = False
    visible: bool | None = None


@dataclass(frozen=True)
class MemoryPolicy(ABC):
    """Decides what each object reads, keeps and promotes. Settings are frozen; what changes is in the state.

    A subclass says which recent memories a frame reads (`recent_memories`) and which of them stay readable
    (`readable_memories`). Everything else has a default, which is the rule of SAM 2.

    Attributes:
        num_maskmem: rows of the temporal encoding: one for conditioning frames, the rest for recent memories.
        max_object_pointers: reach of the pointers: up to this many frames, the current one counted.
        max_cond_frame_num: conditioning frames read at most; -1 reads all.
        past_pointers_only: leave out pointers of conditioning frames that tracking has not reached yet. True when
            tracking; training reads them all.

    Raises:
        ValueError: if a setting is out of range.
    """

    num_maskmem: int = 7
    max_object_pointers: int = 16
    max_cond_frame_num: int = ALL_CONDITIONING_FRAMES
    past_pointers_only: bool = True

    reads_visibility: ClassVar[bool] = False
    """Whether `History.visible_before` is asked, so that object scores are read from the device once a frame."""

    def __post_init__(self) -> None:
        for name in ("num_maskmem", "max_object_pointers"):
            require_at_least_one(name, getattr(self, name))
        if self.max_cond_frame_num < 1 and self.max_cond_frame_num != ALL_CONDITIONING_FRAMES:
            raise ValueError(f"max_cond_frame_num must be -1 (all) or at least 1, got {self.max_cond_frame_num}")

    @classmethod
    def from_config(cls: type[PolicyT], config: Sam2VideoConfig) -> PolicyT:
        """Make the policy with the numbers of a model's configuration."""
        return cls(
            num_maskmem=config.num_maskmem,
            max_object_pointers=config.max_object_pointers_in_encoder,
            max_cond_frame_num=config.max_cond_frame_num,
        )

    def as_setting(self) -> dict[str, Any]:
        """Describe the policy as configurations and saved sessions hold it: its name and all of its settings.

        A class without a name becomes known under its own.

        Raises:
            ValueError: if another class has that name.
        """
        return {"name": name_of(type(self)), **asdict(self)}

    # What a policy decides

    def new_state(self) -> PolicyState:
        """What an object starts with. Plain values and small tensors alone: they are saved with the session."""
        return {}

    def owns(self, state: PolicyState) -> bool:
        """Whether a state is of this policy, and not of another that tracked the session before."""
        return state.keys() == self.new_state().keys()

    def choose(self, states: Sequence[PolicyState], candidates: MaskCandidates) -> Array:
        """Choose one of several candidate masks of every object.

        Args:
            states: what each of the N objects left in the frame passed before, or `new_state()`.
            candidates: the masks, M for each object, with their scores and boxes.

        Returns:
            Indices (N,) int64, on the device of the candidates. By default the best score.
        """
        return candidates.ious.argmax(-1)

    def measure(self, states: Sequence[PolicyState], candidates: MaskCandidates, chosen: Array) -> Array:
        """Measure what `observe` is to know of the masks.

        Called only for policies that override it, for masks that were predicted, and not for those that a user gave.

        Args:
            states: as for `choose`.
            candidates: likewise.
            chosen: the indices (N,) of the masks that were taken.

        Returns:
            As many numbers for each object, (N, K) float32, on the device of the candidates: they are read from it
            together with the scores.
        """
        raise NotImplementedError

    def branch(self, states: Sequence[PolicyState], candidates: MaskCandidates) -> tuple[Array, Array]:
        """Choose several candidates of every object, each of which goes on as a path of its own.

        Called in place of `choose` and `measure` for tracked objects, and only for policies that override it.

        Args:
            states: as for `choose`. All of the N objects have R paths, see `paths`.
            candidates: M masks of each path: masks (N, R * M, h, w), estimated IoUs (N, R * M) and object scores
                (N, R).

        Returns:
            Indices (N, P) int64 on the second axis of the masks, the best path first; and what is measured on them,
            (N, K) float32. Both on the device of the candidates.
        """
        raise NotImplementedError

    def paths(self, state: PolicyState) -> list[MemoryPath]:
        """The paths along which an object is followed, in the order of their numbers; none if there is only one."""
        return []

    def of_path(self, state: PolicyState, number: int) -> PolicyState:
        """The state with one of its paths alone."""
        return state

    def parents(self, state: PolicyState) -> Sequence[int]:
        """Which paths of the frame before the paths of a frame come from."""
        return (0,)

    def recipe_state(self, state: PolicyState, number: int) -> PolicyState:
        """What `choose` needs to take the mask of a path again, from the state that was left with the frame."""
        return {}

    def answer_delay(self, keeps_masks: bool) -> int | None:
        """How many frames later it is known which path is shown; None at the end of a pass.

        Args:
            keeps_masks: whether the session keeps the masks of all frames.
        """
        return 0

    def observe(self, state: PolicyState, sighting: Sighting) -> Observation:
        """Take note of a result.

        Called only for policies that override it, since the scores are read from the device for it.

        Args:
            state: what the object left in the frame passed before; not changed.
            sighting: the result.
        """
        return Observation(state)

    def overrides(self, method: str) -> bool:
        """Whether the policy has a method of its own in place of the default."""
        return getattr(type(self), method) is not getattr(MemoryPolicy, method)

    def read_conditioning(self, conditioning: Collection[int], frame: int, reverse: bool) -> list[int]:
        """Choose the conditioning frames that a frame reads as such.

        Args:
            conditioning: those that it may read, in the order in which they came to condition.
            frame: the index of the frame that reads.
            reverse: whether the clip is tracked backwards.

        Returns:
            Indices in order of time.
        """
        return closest_conditioning_frames(frame, conditioning, self.max_cond_frame_num)

    def retained_conditioning(self, passed: Collection[int], reverse: bool) -> set[int]:
        """Those of the conditioning frames passed that a later frame can still read.

        With a limit these are the last of them, for among frames passed, later is closer.

        Args:
            passed: their indices.
            reverse: whether the clip is tracked backwards.
        """
        if self.max_cond_frame_num == ALL_CONDITIONING_FRAMES:
            return set(passed)
        return set(sorted(passed, reverse=reverse)[-self.max_cond_frame_num :])

    def readable_pointers(self, history: History, frames: Collection[int]) -> Collection[int]:
        """Those of some frames in reach, conditioning or not, whose pointers are read; by default all."""
        return frames

    @abstractmethod
    def recent_memories(self, history: History, frame: int, reverse: bool) -> Iterable[SpatialMemory]:
        """Spatial memories that a frame reads besides those of conditioning frames, oldest first.

        Frames that have no memory may be among them; `select` leaves them out.
        """

    @abstractmethod
    def readable_memories(self, history: History, frame: int, reverse: bool) -> Iterable[int]:
        """Frames up to `frame`, which was just tracked, whose spatial memory a later frame can read as a recent one."""

    def select(self, history: History, frame: int, reverse: bool = False) -> MemorySelection:
        """Choose what a frame reads.

        Conditioning frames beyond the limit count as recent ones. A frame that is itself a conditioning frame reads
        its own former memory.

        Args:
            history: the object's frames.
            frame: the index of the frame that reads.
            reverse: whether the clip is tracked backwards; "recent" then means the frames after this one.

        Returns:
            The memories and pointers to read.
        """
        direction = -1 if reverse else 1
        conditioning = history.conditioning_for(frame, reverse)
        chosen = self.read_conditioning(conditioning, frame, reverse)
        window = list(self.recent_memories(history, frame, reverse))
        distances = range(self.max_object_pointers - 1, 0, -1)
        reach = [frame - distance * direction for distance in distances]
        recent = history.tracked_among([slot.frame for slot in window] + reach)
        if len(chosen) < len(conditioning):
            recent.update(set(conditioning).difference(chosen))

        memories = [SpatialMemory(other, self.num_maskmem - 1) for other in chosen]
        memories += [slot for slot in window if slot.frame in recent]
        pointers = [PointerMemory(other, (frame - other) * direction) for other in chosen]
        if self.past_pointers_only:
            pointers = [pointer for pointer in pointers if pointer.distance >= 0]
        in_reach = self.readable_pointers(history, recent.intersection(reach))
        pointers += [
            PointerMemory(other, distance)
            for other, distance in zip(reach, distances, strict=True)
            if other in in_reach
        ]
        return MemorySelection(tuple(memories), tuple(pointers))

    def key_scale(self, history: History, selection: MemorySelection) -> Sequence[float] | None:
        """Factors for the keys of the selected spatial memories, one each; None leaves them as they are."""
        return None

    def retained(self, history: History, frame: int, reverse: bool = False) -> RetainedFrames:
        """Choose what must be kept of the frames passed, if tracking only ever goes on in its direction.

        Exact: dropping the rest changes no later selection, whatever prompts are still to come. Kept are the
        conditioning frames, of which a limit leaves some, and the windows of the next frame, which contain those of
        every frame after it as far as they reach back. The count is bounded as long as conditioning frames are. Frames
        ahead are not named; all of them are to be kept.

        Args:
            history: the object's frames.
            frame: the index of the frame that was just tracked.
            reverse: whether the clip is tracked backwards.
        """
        direction = -1 if reverse else 1
        following = frame + direction
        readable = history.conditioning_for(following, reverse)
        passed = {other for other in readable if (following - other) * direction > 0}
        conditioning = self.retained_conditioning(passed, reverse)
        features = set(self.readable_memories(history, frame, reverse))
        pointers = {following - distance * direction for distance in range(1, self.max_object_pointers)}
        there = history.tracked_among(features | pointers) | passed
        return RetainedFrames(
            frozenset(conditioning | (features & there)), frozenset(conditioning | (pointers & there))
        )


def require_at_least_one(name: str, value: int) -> None:
    """Raise a `ValueError` that names the setting if it is below 1."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
