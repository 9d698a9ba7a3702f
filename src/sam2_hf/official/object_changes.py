"""What Meta's predictor does to one object's prompts and results where this package's session does otherwise."""

from __future__ import annotations

from ..tracking.object_state import ObjectState


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
