"""How a tracked result was computed, so that it can be computed again when it was dropped.

Results form a graph: each was computed from memories of others. A node is a `Source`, one result by frame and version.
Nodes are kept alive by the results that read them, so that a result which was replaced since can still be computed
again for those that were tracked from it, and is forgotten with the last of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ..arrays import Array, copied_to
from .memory.selection import MemorySelection, PointerMemory, SpatialMemory

# The frames whose memories, and those whose pointers, went into a result, each with the version that was read; and the
# frame whose policy state did, if the policy keeps one.
Provenance = tuple[tuple[tuple[int, int], ...], ...]


class StoredMemory(Protocol):
    """A memory that lies elsewhere than in an array of its own."""

    def pointer(self) -> Array:
        """The pointer (C,)."""

    def features(self) -> Array | None:
        """The features (D, h, w); None where they were dropped."""


class Source:
    """One result as later ones read it.

    Invariant: `features` is not None, or `recipe` is not None.

    Attributes:
        frame: the index of its frame.
        version: the version of the result.
        recipe: how it was computed; None for a prompt's result, and where the features are kept for good.
        depth: how many frames are computed one after the other until the features are there again; 0 where they are
            kept.
    """

    __slots__ = ("_features", "_pointer", "_stored", "depth", "frame", "recipe", "version")

    def __init__(
        self,
        frame: int,
        version: int,
        pointer: Array | None,
        features: Array | None = None,
        recipe: Recipe | None = None,
        stored: StoredMemory | None = None,
    ):
        self.frame = frame
        self.version = version
        self.recipe = recipe
        self.depth = 0 if recipe is None else recipe.depth
        self._pointer = pointer
        self._features = features
        self._stored = stored

    @property
    def pointer(self) -> Array:
        """The pointer (C,), wherever it is stored."""
        if self._pointer is not None:
            return self._pointer
        assert self._stored is not None, "a pointer is never dropped"
        return self._stored.pointer()

    @property
    def features(self) -> Array | None:
        """The features (D, h, w), wherever they are stored; None if they have to be computed."""
        if self._features is not None or self._stored is None:
            return self._features
        return self._stored.features()

    def pin(self, features: Array) -> None:
        """Keep the features for good."""
        self._features, self.recipe, self.depth = features, None, 0

    def store(self, stored: StoredMemory) -> None:
        """Refer to the memory where it is stored now, and no longer to the arrays."""
        self._stored, self._pointer, self._features = stored, None, None

    def loose_arrays(self) -> tuple[Array | None, Array | None]:
        """The pointer and the features, as far as they are not stored elsewhere."""
        return self._pointer, self._features

    @property
    def stored(self) -> StoredMemory | None:
        """Where the memory is stored; None while it is in arrays of its own."""
        return self._stored

    def move_to(self, device: Any) -> None:
        """Move the arrays that are not stored elsewhere."""
        self._pointer = None if self._pointer is None else copied_to(self._pointer, device)
        self._features = None if self._features is None else copied_to(self._features, device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and (self.frame, self.version) == (other.frame, other.version)

    def __hash__(self) -> int:
        return hash((self.frame, self.version))

    def __repr__(self) -> str:
        return f"Source(frame={self.frame}, version={self.version}, depth={self.depth})"


class Recipe(NamedTuple):
    """What a tracked result was computed from.

    Attributes:
        memories: the results whose features were read.
        indices: the rows of the temporal encoding that went with them.
        pointers: the results whose pointers were read.
        distances: how many frames ago they were.
        unversioned: positions in `memories` and in `pointers` of what the provenance leaves out.
        reverse: the direction of tracking.
        policy_state: what the memory policy knew before.
        state_of: the frame that this comes from with its version, as the provenance has it; None where it has none.
        key_scale: factors for the keys of the memories, if there were any.
    """

    memories: tuple[Source, ...]
    indices: tuple[int, ...]
    pointers: tuple[Source, ...]
    distances: tuple[int, ...]
    unversioned: tuple[tuple[int, ...], tuple[int, ...]]
    reverse: bool
    policy_state: dict[str, Any]
    state_of: tuple[tuple[int, int], ...] | None = None
    key_scale: tuple[float, ...] | None = None

    @property
    def depth(self) -> int:
        """How many frames are computed one after the other to compute the result again."""
        return 1 + max([source.depth for source in self.memories], default=0)

    @property
    def selection(self) -> MemorySelection:
        """What was read, as the memory policy chose it."""
        memories = (SpatialMemory(source.frame, row) for source, row in zip(self.memories, self.indices, strict=True))
        pointers = (
            PointerMemory(source.frame, distance)
            for source, distance in zip(self.pointers, self.distances, strict=True)
        )
        return MemorySelection(tuple(memories), tuple(pointers))

    @property
    def provenance(self) -> Provenance:
        """The versions that the result was computed from."""
        memories, pointers = self.unversioned
        read = (_versions(self.memories, memories), _versions(self.pointers, pointers))
        return read if self.state_of is None else (*read, self.state_of)


def write_recipe(
    selection: MemorySelection,
    memories: Sequence[Source],
    pointers: Sequence[Source],
    provenance: Provenance,
    reverse: bool,
    policy_state: dict[str, Any],
    key_scale: Sequence[float] | None = None,
) -> Recipe:
    """Note how a result is computed.

    Args:
        selection: what is read.
        memories: the results of its memories, in their order.
        pointers: the results of its pointers, in their order.
        provenance: the selection with versions, where some may be left out.
        reverse: the direction of tracking.
        policy_state: what the memory policy knows before.
        key_scale: factors for the keys of the memories.
    """
    return Recipe(
        tuple(memories),
        _shared(tuple([slot.temporal_index for slot in selection.memories])),
        tuple(pointers),
        _shared(tuple([slot.distance for slot in selection.pointers])),
        (_left_out(memories, provenance[0]), _left_out(pointers, provenance[1])),
        reverse,
        policy_state,
        provenance[2] if len(provenance) > 2 else None,
        None if key_scale is None else tuple(key_scale),
    )


def _versions(sources: Sequence[Source], left_out: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((source.frame, source.version) for index, source in enumerate(sources) if index not in left_out)


def _left_out(sources: Sequence[Source], versioned: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    if len(sources) == len(versioned):
        return ()
    return tuple(index for index, source in enumerate(sources) if (source.frame, source.version) not in versioned)


_SHARED: dict[tuple[int, ...], tuple[int, ...]] = {}
_MOST_SHARED = 1000


def _shared(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """An equal tuple that is there already: most frames read alike."""
    if len(_SHARED) > _MOST_SHARED:
        _SHARED.clear()
    return _SHARED.setdefault(numbers, numbers)
