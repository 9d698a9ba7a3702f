"""On disk, the graph of what results were computed from: tables of numbers beside the blocks.

Each table is an array of int64 with one row an entry. A hundred thousand frames are a few of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import Array, dtype_name, to_numpy
from .archive import Block, CompactResult, Row, like, on_host
from .frame_result import FrameResult
from .memory.policy import PolicyState
from .recipe import Recipe, Source
from .stored_values import build_state, count, describe_state, entry_of, optional_tensor, tensor_of

NONE = -1
# In place of a block: the arrays are those of a result that is stored whole.
OF_WHOLE = -2
# The columns of a source are frame, version, depth, block or NONE or OF_WHOLE, row, recipe, whether features are kept.
SOURCE_COLUMNS = 7
# A recipe begins with: reverse, policy state, and how many memories, pointers, unversioned ones of both, and frames
# whose policy state went in there are; NONE if the policy keeps none.
RECIPE_HEAD = 7
# A result in little space is: source, block, row, recipe, is_conditioning, tracked_in_reverse or NONE, visible, state.
COMPACT_LENGTH = 8


class _Numbered:
    """Things that are numbered in the order in which they come, each by its identity."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._numbers: dict[int, int] = {}

    def number(self, item: Any) -> int:
        if item is None:
            return NONE
        known = self._numbers.get(id(item))
        if known is None:
            known = self._numbers[id(item)] = len(self.items)
            self.items.append(item)
        return known


class GraphWriter:
    """Numbers the sources, recipes, blocks and policy states of one object.

    Args:
        prefix: of the names of its tensors.
        tensors: take up the tables.
    """

    def __init__(self, prefix: str, tensors: dict[str, Array]):
        self._prefix = prefix
        self._tensors = tensors
        self._sources, self._recipes, self._blocks, self._states = _Numbered(), _Numbered(), _Numbered(), _Numbered()
        self._whole: dict[int, int] = {}
        self._whole_prefixes: list[str] = []

    def add_whole(self, result: FrameResult, prefix: str) -> list[int]:
        """Number the source and the recipe of a result that is stored whole."""
        source = self._sources.number(result.source)
        self._whole[source] = len(self._whole_prefixes)
        self._whole_prefixes.append(prefix)
        return [source, self._recipes.number(result.recipe)]

    def add_compact(self, result: CompactResult) -> list[int]:
        """Describe a result in little space."""
        reverse = result.tracked_in_reverse
        return [
            self._sources.number(result.source),
            self._blocks.number(result.row.block),
            result.row.position,
            self._recipes.number(result.recipe),
            int(result.is_conditioning),
            NONE if reverse is None else int(reverse),
            int(result.visible),
            self._states.number(result.policy_state),
        ]

    def finish(self) -> dict[str, Any]:
        """Write the tables, with all that the results lead to; what JSON can hold of them."""
        sources: list[list[int]] = []
        recipes: list[list[int]] = []
        while len(sources) < len(self._sources.items) or len(recipes) < len(self._recipes.items):
            if len(recipes) < len(self._recipes.items):
                recipes.append(self._describe_recipe(self._recipes.items[len(recipes)]))
            else:
                sources.append(self._describe_source(len(sources)))
        if not sources:
            return {}
        self._tensors[f"{self._prefix}.sources"] = self._as_table(sources)
        flat = [number for recipe in recipes for number in recipe]
        self._tensors[f"{self._prefix}.recipes"] = self._as_table(flat)
        scales = {index: recipe.key_scale for index, recipe in enumerate(self._recipes.items) if recipe.key_scale}
        return {
            "graph": {
                "whole": self._whole_prefixes,
                "blocks": [self._describe_block(index, block) for index, block in enumerate(self._blocks.items)],
                "states": [
                    describe_state(state, f"{self._prefix}.states.{index}", self._tensors)
                    for index, state in enumerate(self._states.items)
                ],
                "key_scales": {str(index): list(scale) for index, scale in scales.items()},
            }
        }

    def _as_table(self, numbers: list[Any]) -> Array:
        """Numbers as an array of the kind of the others."""
        return like(self._sources.items[0].pointer, np.array(numbers, np.int64))

    def _describe_recipe(self, recipe: Recipe) -> list[int]:
        memories, pointers = recipe.unversioned
        return [
            int(recipe.reverse),
            self._states.number(recipe.policy_state or None),
            *(len(recipe.memories), len(recipe.pointers), len(memories), len(pointers)),
            NONE if recipe.state_of is None else len(recipe.state_of),
            *map(self._sources.number, recipe.memories),
            *recipe.indices,
            *map(self._sources.number, recipe.pointers),
            *recipe.distances,
            *memories,
            *pointers,
            *(number for read in recipe.state_of or () for number in read),
        ]

    def _describe_source(self, number: int) -> list[int]:
        source: Source = self._sources.items[number]
        whole = self._whole.get(number)
        stored = source.stored
        if whole is not None:
            block, row = OF_WHOLE, whole
        elif isinstance(stored, Row):
            block, row = self._blocks.number(stored.block), stored.position
        else:
            block, row = NONE, 0
        if whole is None:
            loose = zip(("pointer", "features"), source.loose_arrays(), strict=True)
            prefix = f"{self._prefix}.sources.{number}"
            self._tensors.update({f"{prefix}.{name}": array for name, array in loose if array is not None})
        keeps = source.features is not None
        return [
            *(source.frame, source.version, source.depth, block, row),
            *(self._recipes.number(source.recipe), int(keeps)),
        ]

    def _describe_block(self, index: int, block: Block) -> dict[str, Any]:
        prefix = f"{self._prefix}.blocks.{index}"
        self._tensors.update({f"{prefix}.{name}": array for name, array in block.arrays.items()})
        return {"ends": block.ends, "feature_rows": block.feature_rows}


class GraphReader:
    """Builds the graph of one object again.

    Args:
        stored: what `GraphWriter.finish` gave is among it.
        prefix: of the names of the tensors.
        tensors: all tensors.
        whole: results that are stored whole, by the prefixes of their tensors.

    Raises:
        ValueError: for numbers that lead nowhere.
    """

    def __init__(self, stored: dict[str, Any], prefix: str, tensors: dict[str, Array], whole: dict[str, FrameResult]):
        graph = stored.get("graph")
        self.blocks: list[Block] = []
        self._sources: list[Source] = []
        self._recipes: list[Recipe] = []
        self._states: list[PolicyState] = []
        if graph is None:
            return
        self._whole = [whole[name] for name in graph["whole"]]
        self._states = [
            build_state(state, f"{prefix}.states.{index}", tensors) for index, state in enumerate(graph["states"])
        ]
        self.blocks = [
            _build_block(block, f"{prefix}.blocks.{index}", tensors) for index, block in enumerate(graph["blocks"])
        ]
        rows = _table(tensors, f"{prefix}.sources", "nm")
        self._sources = [
            self._build_source(row, f"{prefix}.sources.{index}", tensors) for index, row in enumerate(rows)
        ]
        self._read_recipes(_table(tensors, f"{prefix}.recipes", "n"), graph["key_scales"])
        for source, row in zip(self._sources, rows, strict=True):
            self._complete(source, row[5])

    def attach(self, result: FrameResult, numbers: Any) -> FrameResult:
        """Give a whole result its source and its recipe."""
        source, recipe = numbers
        return replace(result, source=entry_of(self._sources, source, "source"), recipe=self._recipe(recipe))

    def compact(self, numbers: Any) -> CompactResult:
        """Build a result in little space."""
        if not isinstance(numbers, list) or len(numbers) != COMPACT_LENGTH:
            raise ValueError(f"a result must be {COMPACT_LENGTH} numbers, got {numbers!r}")
        source, block, row, recipe, is_conditioning, reverse, visible, state = numbers
        found = self._recipe(recipe)
        if found is None:
            raise ValueError("a result without its arrays needs a recipe")
        return CompactResult(
            self._row(block, row),
            entry_of(self._sources, source, "source"),
            found,
            bool(is_conditioning),
            None if reverse == NONE else bool(reverse),
            bool(visible),
            None if state == NONE else entry_of(self._states, state, "state"),
        )

    def _recipe(self, number: int) -> Recipe | None:
        return None if number == NONE else entry_of(self._recipes, number, "recipe")

    def _row(self, block: int, row: int) -> Row:
        found = entry_of(self.blocks, block, "block")
        entry_of(found.ends, row, "row")
        return Row(found, row)

    def _build_source(self, row: Sequence[int], prefix: str, tensors: dict[str, Array]) -> Source:
        if len(row) != SOURCE_COLUMNS:
            raise ValueError(f"a source must be {SOURCE_COLUMNS} numbers, got {len(row)}")
        frame, version, depth, block, position, _, keeps = row
        pointer = optional_tensor(tensors, f"{prefix}.pointer", "c")
        features = optional_tensor(tensors, f"{prefix}.features", "dhw")
        stored = None
        if block == OF_WHOLE:
            memory = entry_of(self._whole, position, "whole").memory
            pointer, features = memory.pointer, memory.features if keeps else None
        elif block != NONE:
            stored = self._row(block, position)
        if pointer is None and stored is None:
            raise ValueError(f"{prefix} has no pointer")
        source = Source(count(frame), count(version), pointer, features, stored=stored)
        source.depth = count(depth)
        return source

    def _complete(self, source: Source, recipe: int) -> None:
        """Give a source its recipe; what it was computed from must be older, so that nothing goes in circles."""
        source.recipe = self._recipe(recipe)
        if source.recipe is None and source.features is None:
            raise ValueError(f"{source} has neither features nor a recipe")
        read = () if source.recipe is None else source.recipe.memories
        if any(other.version >= source.version for other in read):
            raise ValueError(f"{source} was computed from a later one")

    def _read_recipes(self, numbers: list[int], key_scales: dict[str, list[float]]) -> None:
        at = 0
        while at < len(numbers):
            reverse, state, *lengths = numbers[at : at + RECIPE_HEAD]
            if len(lengths) != RECIPE_HEAD - 2 or min(lengths[:-1]) < 0:
                raise ValueError("a recipe is cut short")
            at += RECIPE_HEAD
            num_memories, num_pointers, *others, num_states = lengths
            parts: list[tuple[int, ...]] = []
            for length in (*(num_memories,) * 2, *(num_pointers,) * 2, *others, 2 * max(num_states, 0)):
                parts.append(tuple(numbers[at : at + length]))
                at += length
            memories, indices, pointers, distances, left_memories, left_pointers, states = parts
            scale = key_scales.get(str(len(self._recipes)))
            self._recipes.append(
                Recipe(
                    tuple(entry_of(self._sources, source, "source") for source in memories),
                    indices,
                    tuple(entry_of(self._sources, source, "source") for source in pointers),
                    distances,
                    (left_memories, left_pointers),
                    bool(reverse),
                    {} if state == NONE else entry_of(self._states, state, "state"),
                    None if num_states == NONE else tuple(zip(states[::2], states[1::2], strict=True)),
                    None if scale is None else tuple(scale),
                )
            )
        if at != len(numbers):
            raise ValueError("a recipe is cut short")


def _build_block(stored: dict[str, Any], prefix: str, tensors: dict[str, Array]) -> Block:
    arrays = {
        "pointers": tensor_of(tensors, f"{prefix}.pointers", "nc"),
        "scores": tensor_of(tensors, f"{prefix}.scores", "n"),
        "ious": tensor_of(tensors, f"{prefix}.ious", "n"),
        "masks": tensor_of(tensors, f"{prefix}.masks", "n", floating=False),
    }
    features = optional_tensor(tensors, f"{prefix}.features", "ndhw")
    if features is not None:
        arrays["features"] = features
    ends, rows = [count(end) for end in stored["ends"]], list(stored["feature_rows"])
    lengths = {len(ends), len(rows), *(len(arrays[name]) for name in ("pointers", "scores", "ious"))}
    fits = len(lengths) == 1 and ends == sorted(ends) and (not ends or ends[-1] <= len(arrays["masks"]))
    num_features = 0 if features is None else len(features)
    if not fits or dtype_name(arrays["masks"]) != "uint8" or not all(NONE <= row < num_features for row in rows):
        raise ValueError(f"{prefix} does not fit together")
    return Block({name: on_host(array) for name, array in arrays.items()}, ends, rows)


def _table(tensors: dict[str, Array], name: str, axes: str) -> list[Any]:
    table = tensor_of(tensors, name, axes, floating=False)
    if dtype_name(table) != "int64":
        raise ValueError(f"{name} must be int64, got {table.dtype}")
    return to_numpy(table).tolist()
