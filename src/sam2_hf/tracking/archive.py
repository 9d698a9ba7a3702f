"""Results of one object in little space: what is kept of frames that tracking passed some time ago.

Results go into a block a few at a time: pointers, scores and packed masks in one array each, and the features of those
that are pinned. A block lies in the memory of the host or in a file; it is never changed, and is dropped with the last
result or source that refers to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

from ..arrays import Array, concatenate, is_tensor, stack
from .compact_mask import pack_logits, unpack_logits
from .frame_result import FrameMemory, FrameResult, paths_of
from .recipe import Provenance, Recipe, Source


class Block:
    """Some results of one object, on the host.

    Attributes:
        arrays: "pointers" (n, C), "scores" (n,), "ious" (n,), "masks" (bytes,) uint8, and "features"
            (pinned, D, h, w) if there are any.
        ends: where the mask of each result ends in "masks".
        feature_rows: the row of each result in "features", or -1.
    """

    __slots__ = ("__weakref__", "_file", "arrays", "ends", "feature_rows")

    def __init__(self, arrays: dict[str, Array], ends: Sequence[int], feature_rows: Sequence[int]):
        self.arrays = arrays
        self.ends = tuple(ends)
        self.feature_rows = tuple(feature_rows)
        self._file: Any = None

    def move(self, arrays: dict[str, Array], file: Any) -> None:
        """Refer to equal arrays in a file, which is held for as long as the block is there."""
        self.arrays, self._file = arrays, file

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def __len__(self) -> int:
        return len(self.ends)


class Row(NamedTuple):
    """One result in a block."""

    block: Block
    position: int

    def pointer(self) -> Array:
        """The pointer (C,)."""
        return self.block.arrays["pointers"][self.position]

    def features(self) -> Array | None:
        """The features (D, h, w); None where they were dropped."""
        row = self.block.feature_rows[self.position]
        return None if row < 0 else self.block.arrays["features"][row]

    def score(self) -> Array:
        """The object score (1,)."""
        return self.block.arrays["scores"][self.position : self.position + 1]

    def iou(self) -> Array:
        """The estimated IoU (1,)."""
        return self.block.arrays["ious"][self.position : self.position + 1]

    def packed_mask(self) -> bytes:
        """The packed mask; empty where there was none."""
        start = self.block.ends[self.position - 1] if self.position else 0
        return np.asarray(self.block.arrays["masks"][start : self.block.ends[self.position]]).tobytes()

    def logits(self) -> Array | None:
        """Logits (1, h, w) of the mask, exact along its edge; see `compact_mask`. None where there was no mask."""
        packed = self.packed_mask()
        return like(self.block.arrays["scores"], unpack_logits(packed)[None]) if packed else None


class Recomputed(NamedTuple):
    """What was computed again of a result whose arrays were dropped: (D, h, w), and (1, h, w)."""

    features: Array
    logits: Array


@dataclass(frozen=True, slots=True)
class CompactResult:
    """A tracked result whose arrays lie in a block, and whose features and logits are computed again when needed.

    Attributes are those of a `FrameResult`.
    """

    row: Row
    source: Source
    recipe: Recipe
    is_conditioning: bool
    tracked_in_reverse: bool | None
    visible: bool
    policy_state: dict[str, Any] | None
    alternatives: tuple[Any, ...] = ()

    @property
    def version(self) -> int:
        """A number that no other result of the session has."""
        return self.source.version

    @property
    def provenance(self) -> Provenance:
        """What the result was computed from."""
        return self.recipe.provenance

    @property
    def is_visible(self) -> bool:
        """Whether the object is visible."""
        return self.visible

    @property
    def is_promoted(self) -> bool:
        """Whether the memory policy made the frame a conditioning frame."""
        return self.is_conditioning

    def expand(self, recomputed: Recomputed | None = None) -> FrameResult:
        """Put it as a `FrameResult`, with what was computed again."""
        features = self.source.features if recomputed is None else recomputed.features
        return FrameResult(
            None if recomputed is None else recomputed.logits,
            self.row.score(),
            self.row.iou(),
            FrameMemory(features, self.source.pointer),
            is_conditioning=self.is_conditioning,
            tracked_in_reverse=self.tracked_in_reverse,
            provenance=self.provenance,
            version=self.version,
            visible=self.visible,
            policy_state=self.policy_state,
            source=self.source,
            recipe=self.recipe,
            kept=self.row,
            alternatives=self.alternatives,
        )


Entry = FrameResult | CompactResult


def compacted(result: FrameResult, row: Row, visible: bool) -> CompactResult:
    """Put a result, whose arrays lie in a block, into little space."""
    assert result.source is not None and result.recipe is not None, "only results that can be computed again"
    return CompactResult(
        row,
        result.source,
        result.recipe,
        result.is_conditioning,
        result.tracked_in_reverse,
        visible,
        result.policy_state,
        result.alternatives,
    )


class Archive:
    """The blocks of one object."""

    def __init__(self, blocks: Iterable[Block] = ()):
        self._blocks: WeakSet[Block] = WeakSet(blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    def copy(self) -> Archive:
        """Copy the archive; the blocks are shared."""
        return Archive(self._blocks)

    def add(self, block: Block) -> None:
        """Count a block as one of the object's, for as long as anything refers to it."""
        self._blocks.add(block)

    def arrays(self) -> list[Array]:
        """Everything in the blocks."""
        return [array for block in self._blocks for array in block.arrays.values()]

    def seal(self, results: Sequence[FrameResult]) -> tuple[Block, list[CompactResult]]:
        """Put tracked results, each with source and recipe, into a new block. A device is waited for."""
        every = [path for result in results for path in paths_of(result)]
        block = pack(every)
        self.add(block)
        visible = (block.arrays["scores"] > 0).tolist()
        found = []
        for index, result in enumerate(every):
            row = Row(block, index)
            found.append(compacted(result, row, visible[index] if result.visible is None else result.visible))
            found[-1].source.store(row)
        paths = iter(found)
        compact = [
            replace(next(paths), alternatives=tuple(islice(paths, len(result.alternatives)))) for result in results
        ]
        return block, compact


def pack(results: Sequence[FrameResult]) -> Block:
    """Copy results into a block, the features of those alone whose source keeps them."""
    masks = _packed_masks(results)
    pinned = [None if result.source is None else result.source.features for result in results]
    features = [feature for feature in pinned if feature is not None]
    there = np.array([feature is not None for feature in pinned])
    scores = on_host(concatenate([result.object_score for result in results]))
    arrays = {
        "pointers": on_host(stack([result.memory.pointer for result in results])),
        "scores": scores,
        "ious": on_host(concatenate([result.iou for result in results])),
        "masks": like(scores, np.frombuffer(b"".join(masks), np.uint8).copy()),
    }
    if features:
        arrays["features"] = on_host(stack(features))
    ends = np.cumsum([len(mask) for mask in masks]).tolist()
    return Block(arrays, ends, np.where(there, np.cumsum(there) - 1, -1).tolist())


def _packed_masks(results: Sequence[FrameResult]) -> list[bytes]:
    """The packed masks, one transfer for all; empty where there is none."""
    there = [index for index, result in enumerate(results) if result.mask_logits is not None]
    packed = [b""] * len(results)
    if there:
        stacked = on_host(concatenate([results[index].mask_logits for index in there]))
        for index, logits in zip(there, np.asarray(stacked), strict=True):
            packed[index] = pack_logits(logits)
    return packed


def on_host(array: Array) -> Array:
    """Bring an array to the memory of the host, where it is not there already."""
    return array.cpu() if is_tensor(array) else array


def like(example: Array, values: np.ndarray) -> Array:
    """A NumPy array as what the example is, on the host."""
    if is_tensor(example):
        import torch

        return torch.from_numpy(values)
    return values


def with_source(result: FrameResult, frame: int) -> FrameResult:
    """Give a stored result its node in the graph; one without recipe keeps its features for as long as it is read."""
    features = result.memory.features if result.recipe is None else None
    source = Source(frame, result.version, result.memory.pointer, features, result.recipe)
    return replace(
        result, source=source, alternatives=tuple(with_source(other, frame) for other in result.alternatives)
    )
