"""One object on disk: its prompts and results as plain values, and the tensors that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..arrays import Array
from .archive import Entry
from .archive_storage import GraphReader, GraphWriter
from .frame_result import FrameMemory, FrameResult, paths_of
from .object_state import ObjectState
from .prompts import MaskPrompt, PointPrompt, Prompt
from .recipe import Provenance
from .stored_values import build_state, count, describe_state, optional_tensor, tensor_of

# Which results of an object: those that stand, or those that prompts have superseded.
KINDS = ("results", "superseded")


def describe_track(track: ObjectState, prefix: str, tensors: dict[str, Array]) -> dict[str, Any]:
    """Put the tensors of an object among the others, and return what JSON can hold of it."""
    for frame, prompt in track.prompts.items():
        tensors.update({f"{prefix}.prompts.{frame}.{name}": tensor for name, tensor in vars(prompt).items()})
    writer = GraphWriter(prefix, tensors)
    kept: dict[str, Mapping[int, Entry | None]] = {
        "results": dict(track.results.entries()),
        "superseded": track.superseded,
    }
    described: dict[str, Any] = {}
    for kind, entries in kept.items():
        described[kind] = {
            str(frame): _describe_entry(entry, f"{prefix}.{kind}.{frame}", tensors, writer)
            for frame, entry in entries.items()
        }
    return {
        "prompts": list(track.prompts),
        "pending": sorted(track.pending),
        **described,
        "conditioning": track.results.conditioning,
        "whole": list(track.results.whole),
        **writer.finish(),
    }


def _describe_entry(entry: Entry | None, prefix: str, tensors: dict[str, Array], writer: GraphWriter) -> Any:
    """None for none, a list of numbers for a result in little space, a dictionary for another."""
    if entry is None:
        return None
    if not isinstance(entry, FrameResult):
        numbers = [writer.add_compact(path) for path in paths_of(entry)]
        return numbers if entry.alternatives else numbers[0]
    described = _describe_result(entry, prefix, tensors)
    if entry.source is not None:
        described["graph"] = writer.add_whole(entry, prefix)
    if entry.alternatives:
        described["paths"] = [
            _describe_entry(other, _of_path(prefix, number), tensors, writer)
            for number, other in enumerate(entry.alternatives)
        ]
    return described


def _of_path(prefix: str, number: int) -> str:
    return f"{prefix}.paths.{number}"


def _describe_result(result: FrameResult, prefix: str, tensors: dict[str, Array]) -> dict[str, Any]:
    named = {
        "mask_logits": result.mask_logits,
        "object_score": result.object_score,
        "iou": result.iou,
        "features": result.memory.features,
        "pointer": result.memory.pointer,
    }
    tensors.update({f"{prefix}.{name}": tensor for name, tensor in named.items() if tensor is not None})
    state = result.policy_state
    return {
        "is_conditioning": result.is_conditioning,
        "tracked_in_reverse": result.tracked_in_reverse,
        "provenance": result.provenance,
        "version": result.version,
        **({} if state is None else {"policy_state": describe_state(state, f"{prefix}.policy", tensors)}),
        **({} if state is None else {"visible": result.visible}),
    }


def build_track(stored: dict[str, Any], prefix: str, tensors: dict[str, Array]) -> ObjectState:
    """Read what `describe_track` gave.

    Raises:
        ValueError: for what it cannot have given.
    """
    track = ObjectState(pending={count(frame) for frame in stored["pending"]})
    for frame in stored["prompts"]:
        track.prompts[count(frame)] = _build_prompt(f"{prefix}.prompts.{frame}", tensors)
    whole: dict[str, FrameResult] = {}
    for kind in KINDS:
        for frame, facts in stored[kind].items():
            whole.update(_build_results(facts, f"{prefix}.{kind}.{frame}", tensors))
    reader = GraphReader(stored, prefix, tensors, whole)

    def entries(kind: str) -> dict[int, Entry | None]:
        return {
            int(frame): _build_entry(facts, f"{prefix}.{kind}.{frame}", whole, reader)
            for frame, facts in stored[kind].items()
        }

    for index, entry in entries("results").items():
        if entry is None:
            raise ValueError(f"{prefix} has no result on frame {index}")
        track.results[index] = entry
    track.superseded = entries("superseded")
    orders = ([count(frame) for frame in stored.get(name, ())] for name in ("conditioning", "whole"))
    track.results.reorder(*orders)
    for block in reader.blocks:
        track.results.archive.add(block)
    return track


def _build_results(facts: Any, prefix: str, tensors: dict[str, Array]) -> dict[str, FrameResult]:
    """The results of all paths of a frame that are stored whole, by the prefixes of their tensors."""
    if not isinstance(facts, dict):
        return {}
    found = {prefix: _build_result(facts, prefix, tensors)}
    for number, other in enumerate(facts.get("paths", ())):
        found.update(_build_results(other, _of_path(prefix, number), tensors))
    return found


def _build_entry(facts: Any, prefix: str, whole: dict[str, FrameResult], reader: GraphReader) -> Entry | None:
    if facts is None:
        return None
    if prefix not in whole:
        several = isinstance(facts, list) and facts and isinstance(facts[0], list)
        first, *others = map(reader.compact, facts if several else [facts])
        return replace(first, alternatives=tuple(others))
    result = reader.attach(whole[prefix], facts["graph"]) if "graph" in facts else whole[prefix]
    alternatives = tuple(
        _build_entry(other, _of_path(prefix, number), whole, reader)
        for number, other in enumerate(facts.get("paths", ()))
    )
    return replace(result, alternatives=alternatives)


def _build_result(facts: dict[str, Any], prefix: str, tensors: dict[str, Array]) -> FrameResult:
    state = facts.get("policy_state")
    return FrameResult(
        mask_logits=optional_tensor(tensors, f"{prefix}.mask_logits", "1hw"),
        object_score=tensor_of(tensors, f"{prefix}.object_score", "1"),
        iou=tensor_of(tensors, f"{prefix}.iou", "1"),
        memory=FrameMemory(
            optional_tensor(tensors, f"{prefix}.features", "dhw"), tensor_of(tensors, f"{prefix}.pointer", "c")
        ),
        is_conditioning=bool(facts["is_conditioning"]),
        tracked_in_reverse=facts["tracked_in_reverse"],
        provenance=_build_provenance(facts["provenance"]),
        version=count(facts["version"]),
        visible=facts.get("visible"),
        policy_state=None if state is None else build_state(state, f"{prefix}.policy", tensors),
    )


def _build_prompt(prefix: str, tensors: dict[str, Array]) -> Prompt:
    if f"{prefix}.mask" in tensors:
        return MaskPrompt(tensor_of(tensors, f"{prefix}.mask", "hw", floating=False))
    points, labels = (
        tensor_of(tensors, f"{prefix}.points", "n2"),
        tensor_of(tensors, f"{prefix}.labels", "n", floating=False),
    )
    if len(points) != len(labels):
        raise ValueError(f"{prefix} has {len(points)} points and {len(labels)} labels")
    return PointPrompt(points, labels)


def _build_provenance(stored: list | None) -> Provenance | None:
    if stored is None:
        return None
    return tuple(tuple((frame, version) for frame, version in slots) for slots in stored)
