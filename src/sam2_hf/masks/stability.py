"""How little a mask changes with the cutoff of its logits.

The score of the automatic mask generator of "Segment Anything" (https://arxiv.org/abs/2304.02643, appendix B): the IoU
of the masks at two cutoffs. The mask decoder has a rule of its own, by which a single mask gives way to the best of
three: there, a mask that is empty at both cutoffs counts as stable.
"""

from __future__ import annotations

from ..arrays import Array, cast
from .array_ops import count_pixels


def stability_score(logits: Array, threshold: float = 0.0, offset: float = 1.0) -> Array:
    """Compute the IoU of the masks at ``threshold + offset`` and ``threshold - offset``.

    Args:
        logits: (..., height, width).
        threshold: in logits.
        offset: in logits.

    Returns:
        (...), float32 in [0, 1]. 0 for a mask that is empty even at the lower cutoff.
    """
    return stability_of_areas(count_pixels(logits > threshold + offset), count_pixels(logits > threshold - offset))


def stability_of_areas(inner: Array, outer: Array) -> Array:
    """Compute the same score from the areas of the masks.

    Args:
        inner: (...), pixels above the higher cutoff.
        outer: (...), pixels above the lower one.

    Returns:
        (...), float32 in [0, 1].
    """
    return cast(inner, "float32") / cast(outer.clip(min=1), "float32")
