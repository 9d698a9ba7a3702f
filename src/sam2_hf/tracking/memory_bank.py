"""Which memories a frame reads, and which can be forgotten: pure functions on frame indices.

A frame that is tracked attends to two kinds of memory. *Spatial memories* are feature maps of conditioning frames
(those the user prompted) and of the few frames just passed; *object pointers* are single vectors that reach further
back. The choice depends on frame indices alone, so it is made here, away from tensors and sessions. How the chosen
tensors become one sequence of tokens: `network.memory_tokens`.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714), section 4, memory bank. That
frames without the object are better not read: Videnovic et al., "A Distractor-Aware Memory for Visual Object Tracking
with SAM2" (arXiv 2411.17576), and Yang et al., "SAMURAI" (arXiv 2411.11922).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass
from typing import NamedTuple

ALL_CONDITIONING_FRAMES = -1


@dataclass(frozen=True)
class MemoryRule:
    """The numbers that decide what a frame reads.

    Attributes:
        num_maskmem: slots of the temporal encoding: one for conditioning frames, the rest for frames just passed.
        max_object_pointers: reach of the pointers: up to this many frames, the current one counted.
        max_cond_frame_num: conditioning frames read at most; -1 reads all.
        stride: recent memories lie this many frames apart, but the neighbour of the frame is always read.
        past_pointers_only: leave out pointers of conditioning frames that tracking has not reached yet. True when
            tracking; training reads them all.
        visible_only: recent memories are those of the last frames in which the object is visible, however long ago,
            and of the neighbour in any case. Not of the paper.
    """

    num_maskmem: int = 7
    max_object_pointers: int = 16
    max_cond_frame_num: int = ALL_CONDITIONING_FRAMES
    stride: int = 1
    past_pointers_only: bool = True
    visible_only: bool = False

    def __post_init__(self) -> None:
        for name in ("num_maskmem", "max_object_pointers", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_cond_frame_num < 1 and self.max_cond_frame_num != ALL_CONDITIONING_FRAMES:
            raise ValueError(f"max_cond_frame_num must be -1 (all) or at least 1, got {self.max_cond_frame_num}")
        if self.visible_only and self.stride != 1:
            raise ValueError(f"stride must be 1 where visible_only is set, got {self.stride}")


class SpatialMemory(NamedTuple):
    """A feature map to read: its frame, and the row of the temporal encoding that goes with it."""

    frame: int
    temporal_index: int


class PointerMemory(NamedTuple):
    """A pointer to read: its frame, and how many frames ago that was (negative: still to come)."""

    frame: int
    distance: int


class MemorySelection(NamedTuple):
    """What one frame reads: conditioning frames first, each kind in order of time."""

    memories: tuple[SpatialMemory, ...]
    pointers: tuple[PointerMemory, ...]


class RetainedFrames(NamedTuple):
    """Frames whose feature map, and frames whose pointer, some later frame can still read."""

    features: frozenset[int]
    pointers: frozenset[int]


def select_memory(
    rule: MemoryRule,
    frame: int,
    conditioning: Collection[int],
    tracked: Collection[int],
    reverse: bool = False,
    visible: Container[int] | None = None,
) -> MemorySelection:
    """Chooses what `frame` reads from an object's history.

    `conditioning` and `tracked` hold the frames that have a memory, prompted ones and others; they do not overlap.
    `visible` are those of them that show the object, None for all; only a rule with `visible_only` asks. `reverse`
    tells that the clip is tracked backwards: "just passed" then means the frames after this one. A conditioning frame
    that the cap leaves out counts as a tracked one. A frame that is itself in `conditioning` reads its own former
    memory.
    """
    direction = -1 if reverse else 1
    chosen = closest_conditioning_frames(frame, conditioning, rule.max_cond_frame_num)
    left_out = set(conditioning).difference(chosen)

    def is_recent(other: int) -> bool:
        return other in tracked or other in left_out

    memories = [SpatialMemory(other, rule.num_maskmem - 1) for other in chosen]
    if rule.visible_only:
        window = _visible_window(rule, frame, direction, [*conditioning, *tracked], visible)
    else:
        window = _memory_window(rule, frame, direction)
    memories += [slot for slot in window if is_recent(slot.frame)]
    pointers = [PointerMemory(other, (frame - other) * direction) for other in chosen]
    if rule.past_pointers_only:
        pointers = [pointer for pointer in pointers if pointer.distance >= 0]
    pointers += [slot for slot in _pointer_window(rule, frame, direction) if is_recent(slot.frame)]
    return MemorySelection(tuple(memories), tuple(pointers))


def closest_conditioning_frames(frame: int, conditioning: Collection[int], limit: int) -> list[int]:
    """The conditioning frames that `frame` reads, in order of time: at most `limit`, or all for -1.

    The nearest one before the frame and the nearest one not before it come first, whatever their distance, then the
    others by distance. Of two at the same distance, the one listed first wins.
    """
    if limit == ALL_CONDITIONING_FRAMES or len(conditioning) <= limit:
        return sorted(conditioning)
    before = max((other for other in conditioning if other < frame), default=None)
    onwards = min((other for other in conditioning if other >= frame), default=None)
    by_preference = sorted(conditioning, key=lambda other: (other not in (before, onwards), abs(other - frame)))
    return sorted(by_preference[:limit])


def retained_frames(
    rule: MemoryRule,
    frame: int,
    conditioning: Collection[int],
    tracked: Collection[int],
    reverse: bool = False,
    visible: Container[int] | None = None,
) -> RetainedFrames:
    """What must be kept after `frame` was processed, if tracking only ever goes on in its direction.

    Exact: dropping the rest changes no later selection, whatever prompts are still to come. Behind the frame that
    leaves the conditioning frames (with a cap: the last `max_cond_frame_num` of them, for among frames behind, later
    is closer), and the windows of the next frame, which contain those of every frame after it as far as they reach
    behind. Frames ahead are kept. The count is bounded as long as conditioning frames are. `visible` is as for
    `select_memory`.
    """
    direction = -1 if reverse else 1
    history = [*conditioning, *tracked]
    ahead = {other for other in history if (other - frame) * direction > 0}
    behind = sorted((other for other in conditioning if other not in ahead), key=lambda other: other * direction)
    if rule.max_cond_frame_num != ALL_CONDITIONING_FRAMES:
        behind = behind[-rule.max_cond_frame_num :]
    following = frame + direction
    if rule.visible_only:
        # A full window of visible frames and the neighbour, which takes one's place only while it is the neighbour.
        passed = _newest_first([other for other in history if other not in ahead], direction)
        seen = [other for other in passed if visible is None or other in visible]
        memory_window = {frame, *seen[: rule.num_maskmem - 1]}
    else:
        memory_window = {slot.frame for slot in _memory_window(rule, following, direction)}
    pointer_window = {slot.frame for slot in _pointer_window(rule, following, direction)}
    always = ahead.union(behind)
    return RetainedFrames(
        features=frozenset(always.union(memory_window.intersection(history))),
        pointers=frozenset(always.union(pointer_window.intersection(history))),
    )


def pointer_distance_scale(rule: MemoryRule, num_frames: int | None = None) -> int:
    """What distances of pointers are divided by before they are encoded: the largest distance in reach.

    `num_frames` is the length of the clip, None for a stream; a clip shorter than the reach lowers the scale.
    """
    reach = rule.max_object_pointers if num_frames is None else min(num_frames, rule.max_object_pointers)
    return max(reach - 1, 1)


def _memory_window(rule: MemoryRule, frame: int, direction: int) -> Iterator[SpatialMemory]:
    """Slots of the recent memories, oldest first, whether or not the frames exist.

    Backward tracking is forward tracking with time mirrored. The neighbour comes first; the others sit on multiples
    of the stride, so that a frame stays in the window while it ages.
    """
    now = frame * direction
    newest_on_grid = (now - 2) // rule.stride
    for age in range(rule.num_maskmem - 1, 0, -1):
        other = now - 1 if age == 1 else (newest_on_grid - (age - 2)) * rule.stride
        yield SpatialMemory(other * direction, age - 1)


def _visible_window(
    rule: MemoryRule, frame: int, direction: int, history: Collection[int], visible: Container[int] | None
) -> Iterator[SpatialMemory]:
    """Slots of the neighbour and of the last frames in which the object is visible, oldest first.

    They are numbered without gaps. Where the object is visible all along, these are the slots of `_memory_window`.
    """
    neighbour = frame - direction
    passed = [other for other in history if (frame - other) * direction > 0]
    read = [other for other in passed if visible is None or other in visible or other == neighbour]
    newest = _newest_first(read, direction)[: rule.num_maskmem - 1]
    for index in range(len(newest) - 1, -1, -1):
        yield SpatialMemory(newest[index], index)


def _newest_first(frames: Collection[int], direction: int) -> list[int]:
    """Frames in the order in which tracking has passed them, the last one first."""
    return sorted(frames, key=lambda frame: -frame * direction)


def _pointer_window(rule: MemoryRule, frame: int, direction: int) -> Iterator[PointerMemory]:
    """Slots of the recent pointers, oldest first, whether or not the frames exist."""
    for distance in range(rule.max_object_pointers - 1, 0, -1):
        yield PointerMemory(frame - distance * direction, distance)
