"""What Meta's predictor does to one object's prompts and results where this package's session does otherwise."""

from __future__ import annotations

import dataclasses

from ..tracking.object_state import ObjectState


def take_back_prompt(track: ObjectState, frame_idx: int) -> None:
    """Forgets a prompt and, unless something was tracked from it, its result; else that no longer conditions."""
    track.prompts.pop(frame_idx, None)
    track.pending.discard(frame_idx)
    if frame_idx in track.superseded:
        before = track.superseded.pop(frame_idx)
        del track.results[frame_idx]
        if before is not None:
            track.results[frame_idx] = before
    result = track.results.get(frame_idx)
    if result is not None and result.is_conditioning:
        track.results[frame_idx] = dataclasses.replace(result, is_conditioning=False, tracked_in_reverse=None)


def drop_corrections_of_conditioning_frames(track: ObjectState) -> None:
    """Puts back what conditioned the object on frames that were corrected: the correction was shown, no more."""
    for frame, before in track.superseded.items():
        if before is not None and before.is_conditioning and before.tracked_in_reverse is not None:
            track.results[frame] = before


def forget_around(track: ObjectState, frame_idx: int, reach: int) -> None:
    """Drops results within `reach` frames of one that do not condition the object."""
    for frame in range(frame_idx - reach, frame_idx + reach + 1):
        result = track.results.get(frame)
        if result is not None and not result.is_conditioning:
            del track.results[frame]
            track.superseded.pop(frame, None)
