"""What tracking gets from the network and gives to it: a frame's features, segmented objects, the memories they read.

The fields are tensors, or arrays of a runtime that computes the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..arrays import Array


class FrameFeatures(NamedTuple):
    """A frame as the model sees it: the two finer maps for the mask decoder, (1, C/8, 4h, 4w) and (1, C/4, 2h, 2w),
    and the coarsest (1, C, h, w), free of any memory."""

    fine: tuple[Array, Array]
    coarsest: Array


class ObjectMasks(NamedTuple):
    """N objects segmented in a frame: `logits` (N, 1, h, w) float32, `object_score` (N, 1), `iou` (N, 1), and the
    `pointer` (N, C) by which later frames remember them."""

    logits: Array
    object_score: Array
    iou: Array
    pointer: Array


class StoredMemories(NamedTuple):
    """What N objects read in a frame, K memories and P pointers each.

    `features` (N, K, D, h, w); `temporal_indices` (N, K), rows of the temporal encoding; `pointers` (N, P, C) and how
    long ago they were, `distances` (N, P) as parts of the largest distance in reach, both None without pointers.
    Indices and distances may have one row for all objects.
    """

    features: Array
    temporal_indices: Array
    pointers: Array | None
    distances: Array | None


class StoredShapes(NamedTuple):
    """The shapes of what a session stores of an object: `masks` (h, w), `memories` (D, h, w), `pointers` (C,)."""

    masks: tuple[int, ...]
    memories: tuple[int, ...]
    pointers: tuple[int, ...]


def uses_multimask(config: Any, num_points: int, reads_memory: bool) -> bool:
    """Decide whether several masks are predicted and one is taken: for few points, where one click is ambiguous.

    Args:
        config: a `Sam2VideoConfig`, or what has its fields.
        num_points: of the prompt, the corners of a box included.
        reads_memory: whether the object reads memories.
    """
    allowed = config.multimask_output_for_tracking or not reads_memory
    in_range = config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
    return config.multimask_output_in_sam and allowed and in_range


def pointer_distance_scale(max_object_pointers: int, num_frames: int | None = None) -> int:
    """Compute what distances of pointers are divided by before they are encoded: the largest distance in reach.

    Args:
        max_object_pointers: reach of the pointers in frames, the current one counted.
        num_frames: the length of the clip, None for a stream; a clip shorter than the reach lowers the scale.
    """
    reach = max_object_pointers if num_frames is None else min(num_frames, max_object_pointers)
    return max(reach - 1, 1)
