"""Which candidates are new objects: one rule on masks, for mask generation and for detectors.

A candidate is a mask that was found on a frame. It is an object that is known already if it has the same mask as one;
it is no object of its own if known objects cover most of it; else it is admitted. The functions see masks alone, of any
one size.

Axes: N known objects, M candidates, (h, w) the size of the masks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_CLEARLY_LESS = 0.1  # continuity


@dataclass(frozen=True)
class AdmissionRule:
    """Thresholds of the rule, all from 0 to 1.

    Attributes:
        same: two masks with an IoU from here on are the same object.
        covered: a candidate of which known objects cover this share or more is not admitted.
        duplicate: two tracked objects with an IoU from here on have become one.
        least_area: share of the frame below which a mask is a speck.
        most_area: share of the frame above which a mask is background.

    Raises:
        ValueError: a number outside of 0 to 1.
    """

    same: float = 0.5
    covered: float = 0.5
    duplicate: float = 0.8
    least_area: float = 0.0005
    most_area: float = 0.9

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")


class Admission(NamedTuple):
    """What the rule says of candidates.

    Attributes:
        admitted: the candidates that are new objects, in the order in which they were admitted.
        masks: their masks without what belongs to known objects or to those admitted before, each (h, w) bool.
        same: which known object a candidate is, by candidate.
    """

    admitted: list[int]
    masks: list[Tensor]
    same: dict[int, int]


def intersections(first: Tensor, second: Tensor) -> Tensor:
    """Count common pixels.

    Args:
        first: (N, h, w) bool.
        second: (M, h, w) bool.

    Returns:
        (N, M) float32, on the device of the masks. Exact up to 2^24 pixels.
    """
    return first.flatten(1).float() @ second.flatten(1).float().T


def mask_ious(first: Tensor, second: Tensor) -> Tensor:
    """Compare masks.

    Args:
        first: (N, h, w) bool.
        second: (M, h, w) bool.

    Returns:
        (N, M) float32, the IoU of each pair; 0 for two empty masks.
    """
    common = intersections(first, second)
    areas = first.flatten(1).sum(1)[:, None] + second.flatten(1).sum(1)[None]
    return common / (areas - common).clamp(min=1)


def admit(
    candidates: Tensor,
    scores: Sequence[float],
    known: Tensor,
    rule: AdmissionRule,
    room: int | None = None,
    groups: Sequence[Hashable] | None = None,
    known_groups: Sequence[Hashable] | None = None,
) -> Admission:
    """Decide which candidates are new objects.

    Candidates are taken by descending score. Objects of one group share the frame: there, what known objects cover
    counts, and an admitted mask leaves it out. Between groups, such as a person and a shirt, only equal masks count.

    Args:
        candidates: (M, h, w) bool.
        scores: M, which of two candidates is better.
        known: (N, h, w) bool, the masks of the objects that are tracked.
        rule: the thresholds.
        room: how many may be admitted; None for any number.
        groups: M, of each candidate; by default all are of one.
        known_groups: N, of each known object.

    Returns:
        The decision.
    """
    groups = [None] * len(candidates) if groups is None else groups
    known_groups = [None] * len(known) if known_groups is None else known_groups
    matches = {column: row for row, column in match_masks(known, candidates, rule.same)}
    areas = candidates.flatten(1).sum(1).tolist()
    pixels = candidates.shape[-2] * candidates.shape[-1]
    covered = {group: _union(known, known_groups, group) for group in dict.fromkeys(groups)}
    among = mask_ious(candidates, candidates)
    admitted: list[int] = []
    masks: list[Tensor] = []
    for index in sorted(range(len(candidates)), key=lambda index: -scores[index]):
        if room is not None and len(admitted) >= room:
            break
        if index in matches or not rule.least_area <= areas[index] / pixels <= rule.most_area:
            continue
        if admitted and bool((among[index, admitted] >= rule.same).any()):
            continue
        taken = covered[groups[index]]
        left = candidates[index] & ~taken
        if int(left.sum()) <= (1 - rule.covered) * areas[index] or int(left.sum()) < rule.least_area * pixels:
            continue
        admitted.append(index)
        masks.append(left)
        covered[groups[index]] = taken | left
    return Admission(admitted, masks, matches)


def match_masks(
    first: Tensor, second: Tensor, least: float, may_match: Callable[[int, int], bool] | None = None
) -> list[tuple[int, int]]:
    """Pair masks with each other, the best pairs first, each mask once.

    Args:
        first: (N, h, w) bool.
        second: (M, h, w) bool.
        least: the IoU that a pair must have.
        may_match: whether a pair (of an index in each) is allowed; all are by default.

    Returns:
        Pairs of an index in `first` and one in `second`, by descending IoU.
    """
    ious = mask_ious(first, second)
    rows, columns = (ious >= max(least, torch.finfo(ious.dtype).tiny)).nonzero(as_tuple=True)
    order = ious[rows, columns].argsort(descending=True, stable=True)
    pairs: list[tuple[int, int]] = []
    used_rows, used_columns = set(), set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row in used_rows or column in used_columns or not (may_match is None or may_match(row, column)):
            continue
        pairs.append((row, column))
        used_rows.add(row)
        used_columns.add(column)
    return pairs


def duplicates(masks: Tensor, continuity: Sequence[float], rule: AdmissionRule) -> list[tuple[int, int]]:
    """Find tracked objects that have become one.

    Of two, the one stays whose mask went on as it was from frame to frame: a track that passes over to another object
    jumps. Of equal ones, the earlier stays.

    Args:
        masks: (N, h, w) bool, in the order in which the objects were admitted.
        continuity: N, the least IoU that each object's masks of two successive frames had lately.
        rule: the thresholds.

    Returns:
        Pairs (kept, dropped) of indices; each index is dropped once at most, and none that is kept is dropped.
    """
    ious = mask_ious(masks, masks).triu(diagonal=1)
    rows, columns = (ious >= rule.duplicate).nonzero(as_tuple=True)
    kept_for: dict[int, int] = {}
    for first, second in zip(rows.tolist(), columns.tolist(), strict=True):
        if first in kept_for or second in kept_for:
            continue
        has_jumped = continuity[first] < continuity[second] - _CLEARLY_LESS
        kept, lost = (second, first) if has_jumped else (first, second)
        kept_for = {other: kept if one == lost else one for other, one in kept_for.items()}
        kept_for[lost] = kept
    return [(kept, lost) for lost, kept in kept_for.items()]


def _union(masks: Tensor, groups: Sequence[Hashable], group: Hashable) -> Tensor:
    """The pixels (h, w) of the objects of one group."""
    rows = [row for row, other in enumerate(groups) if other == group]
    return masks[rows].any(0)
