"""The policy of SAM2Long: several paths of masks and memories for each object, of which the best ones go on.

Source: Ding et al., "SAM2Long: Enhancing SAM 2 for Long Video Segmentation with a Training-Free Memory Tree" (arXiv
2410.16268). Each object has paths of its own. A prompt leaves one path. What is shown of a frame is the mask of the
path that is best later on: at the end of a pass over a clip, or a few frames later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...arrays import Array, concatenate, index_beside, is_tensor, where
from .candidates import MaskCandidates
from .paths import MemoryPath
from .policy import Observation, PolicyState, Sighting, require_at_least_one
from .selection import MemorySelection
from .visible import VisibleMemory

if TYPE_CHECKING:
    from .history import History

# A stream keeps the 8 frames used last, and each frame uses two, so that the image of an answer can still be read.
STREAM_DELAY = 3
# Added to an IoU before its logarithm is taken.
_EPSILON = 1e-5
# Below all scores: what may be taken only if nothing else is left, and what is taken already.
_LAST, _TAKEN = -1e6, -1e9
# One state for all results that took the same candidate.
TAKES: dict[int, PolicyState] = {}
# What `branch` measures on each path.
_MEASURES = 5


@dataclass(frozen=True)
class TreeMemory(VisibleMemory):
    """Follows several paths of each object, each with memories of its own.

    In every frame, each path has all candidate masks, and the score of a path is the sum of the logarithms of the
    estimated IoUs along it. The best `num_paths` of all candidates go on, each with the memories of the path that it
    comes from. Where no path is certain whether the object is visible, those that go on have different estimates, so
    that they are different masks. A path reads the frame before and its last frames with a good mask of the object.

    Attributes:
        num_paths: paths of an object.
        memory_iou: the estimated IoU above which a frame is read as a recent memory, if it shows the object.
        certain_score: the absolute object score above which a path is certain.
        least_scale: factor for the keys of the memory with the lowest object score; in between, by rank.
        most_scale: factor for those of the memory with the highest.
        delay: how many frames later the path is chosen whose mask is shown. By default at the end of a pass where
            masks are kept, and `STREAM_DELAY` frames later in streams.
    """

    num_paths: int = 3
    memory_iou: float = 0.1
    certain_score: float = 2.0
    least_scale: float = 0.95
    most_scale: float = 1.05
    delay: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_one("num_paths", self.num_paths)
        if self.delay is not None and self.delay < 0:
            raise ValueError(f"delay must be 0 or above, or None, got {self.delay!r}")

    # Paths

    def new_state(self) -> PolicyState:
        """No paths. Each has a score, the path before that it comes from, the candidate that it took there, an object
        score, its last frames to read, and the numbers by which results of frames within reach have it."""
        return {"scores": [], "parents": [], "taken": [], "object_scores": [], "visible": [], "numbers": [], "shown": 0}

    def paths(self, state: PolicyState) -> list[MemoryPath]:
        """The paths of an object; none before the first result."""
        pairs = zip(state.get("visible", ()), state.get("numbers", ()), strict=True)
        return [MemoryPath(tuple(visible), dict(numbers)) for visible, numbers in pairs]

    def of_path(self, state: PolicyState, number: int) -> PolicyState:
        """The state with one path alone."""
        if not state["scores"]:
            return state
        number = min(number, len(state["scores"]) - 1)
        return {name: [value[number]] if isinstance(value, list) else 0 for name, value in state.items()}

    def parents(self, state: PolicyState) -> list[int]:
        """The numbers of the paths before that the paths of a frame come from."""
        return list(state["parents"])

    def recipe_state(self, state: PolicyState, number: int) -> PolicyState:
        """The candidate that a path took."""
        return TAKES.setdefault(state["taken"][number], {"take": state["taken"][number]})

    def answer_delay(self, keeps_masks: bool) -> int | None:
        """How many frames later it is known what is shown; None at the end of a pass."""
        return self.delay if self.delay is not None or keeps_masks else STREAM_DELAY

    # Masks

    def choose(self, states: Sequence[PolicyState], candidates: MaskCandidates) -> Array:
        """The candidate that a path took, where its mask is computed again; else the best score."""
        if not all("take" in state for state in states):
            return candidates.ious.argmax(-1)
        return candidates.take([state["take"] for state in states], "int64")

    def branch(self, states: Sequence[PolicyState], candidates: MaskCandidates) -> tuple[Array, Array]:
        """Choose the candidates of all paths that go on; see `MemoryPolicy.branch`."""
        count, paths = candidates.object_scores.shape
        each = candidates.ious.shape[1] // paths
        before = candidates.numbers([state["scores"] or [0.0] for state in states])
        ious = candidates.ious.reshape(count, paths, each)
        scores = (before[..., None] + _log(ious.clip(0) + _EPSILON)).reshape(count, paths * each)
        certain = (abs(candidates.object_scores) > self.certain_score).any(-1)
        chosen = self._best(scores, candidates.ious, certain)
        rows = index_beside(count, candidates.ious)[:, None]
        kept, path = scores[rows, chosen], chosen // each
        one = candidates.numbers([1.0])
        # Relative to the best, so that the numbers stay small however long the clip is.
        measured = [path, chosen % each, kept - kept[:, :1], candidates.ious[rows, chosen]]
        measured.append(candidates.object_scores[rows, path])
        return chosen, concatenate([numbers * one for numbers in measured], axis=-1)

    def _best(self, scores: Array, ious: Array, certain: Array) -> Array:
        """The best candidates (N, P), best first; where it is not certain, of different IoUs in two digits."""
        rows, columns = index_beside(len(scores), scores), index_beside(scores.shape[1], scores)
        digits = (ious * 100).round()
        chosen = []
        for _ in range(min(self.num_paths, scores.shape[1])):
            best = scores.argmax(-1)
            chosen.append(best[:, None])
            alike = (digits == digits[rows, best][:, None]) & ~certain[:, None]
            scores = where(alike & (scores > _LAST / 2), scores + _LAST, scores)
            scores = where(columns[None] == best[:, None], _TAKEN, scores)
        return concatenate(chosen, axis=-1)

    def observe(self, state: PolicyState, sighting: Sighting) -> Observation:
        """Extend the paths by the frame. A prompt extends the one that was shown."""
        if sighting.measured:
            count = len(sighting.measured) // _MEASURES
            columns = [sighting.measured[start : start + count] for start in range(0, _MEASURES * count, count)]
        else:
            columns = [(0.0,), (0.0,), (0.0,), (sighting.iou_score,), (sighting.object_score,)]
        parents, taken, scores, ious, object_scores = columns
        paths = self.paths(state) or [MemoryPath((), {})]
        good = [iou > self.memory_iou and score > 0 for iou, score in zip(ious, object_scores, strict=True)]
        extended = [
            self._extended(paths[int(parent)], sighting.frame, number, good[number])
            for number, parent in enumerate(parents)
        ]
        after = {
            "scores": list(scores),
            "parents": [int(parent) for parent in parents],
            "taken": [int(number) for number in taken],
            "object_scores": list(object_scores),
            "visible": [list(path.visible) for path in extended],
            "numbers": [[list(pair) for pair in path.numbers.items()] for path in extended],
            "shown": 0,
        }
        return Observation(after, visible=good[0])

    def _extended(self, path: MemoryPath, frame: int, number: int, good: bool) -> MemoryPath:
        """A path with one frame more. Number 0 is not noted, for it is the default."""
        visible = ((frame,) if good else ()) + tuple(other for other in path.visible if other != frame)
        visible = visible[: self.num_maskmem - 1]
        numbers = {
            other: there
            for other, there in path.numbers.items()
            if other != frame and (abs(other - frame) < self.max_object_pointers or other in visible)
        }
        return MemoryPath(visible, {**numbers, frame: number} if number else numbers)

    # Memories

    def readable_memories(self, history: History, frame: int, reverse: bool) -> list[int]:
        """A full window of visible frames of each path, and the frame itself."""
        state, _ = history.note_of(frame)
        paths = self.paths(state) if state is not None and self.owns(state) else []
        readable = dict.fromkeys(super().readable_memories(history, frame, reverse))
        return list(readable | dict.fromkeys(other for path in paths for other in path.visible))

    def key_scale(self, history: History, selection: MemorySelection) -> Sequence[float] | None:
        """By the rank of the object score: the more certain it is that the object is there, the larger."""
        scores = [self._object_score(history, slot.frame) for slot in selection.memories]
        if len(scores) < 2:
            return None
        step = (self.most_scale - self.least_scale) / (len(scores) - 1)
        order = sorted(range(len(scores)), key=scores.__getitem__)
        ranks = {index: rank for rank, index in enumerate(order)}
        return [self.least_scale + step * ranks[index] for index in range(len(scores))]

    def _object_score(self, history: History, frame: int) -> float:
        state, number = history.note_of(frame)
        scores = state.get("object_scores") if state is not None else None
        return scores[min(number, len(scores) - 1)] if scores else 0.0


def _log(values: Array) -> Array:
    if is_tensor(values):
        return values.log()
    import numpy as np

    return np.log(values)
