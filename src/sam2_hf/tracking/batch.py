"""Frames through the network: what objects need, of one session or of several, in as few batches as the needs allow.

Three phases, each of them batched over objects: condition the frames' features on memories, segment, encode new
memories. Objects never share anything but a batch: N together give what each gives alone, whether they are in one
frame or in frames of different clips.

Nothing is written here; a failure leaves all sessions as they were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from ..arrays import Array, concatenate, index_beside, stack, where
from ..masks.connected_components import fill_holes
from ..network.features import FrameFeatures, ObjectMasks, StoredMemories, pointer_distance_scale
from ..prompt_values import MASK_PROMPT_LIMIT
from .frame_result import FrameMemory, FrameResult
from .memory.candidates import MaskCandidates
from .memory.policy import MemoryPolicy
from .model_arrays import ModelArrays
from .plan import Task
from .policy_calls import ComputedFrame, consult
from .prompts import MaskPrompt, PointPrompt
from .session_state import SessionState

Item = TypeVar("Item")

OBJECTS_TOGETHER = 16
"""Frames of several sessions join a batch up to so many objects, each of which then has a copy of its frame's features.
The objects of one frame are never parted, and share their features if they are alone in the batch."""


class FrameWork(NamedTuple):
    """What is to be computed in one frame of one session: its tasks, one an object.

    `arrays` brings the session's arrays to the model.
    """

    session: SessionState
    policy: MemoryPolicy
    arrays: ModelArrays
    frame_idx: int
    features: FrameFeatures
    tasks: Sequence[Task]


class _Row(NamedTuple):
    """One path of an object: `work` is the number of its frame, `policy` that of its policy, see `_numbered`; `owner`
    counts the objects, and `paths` how many rows this one has."""

    work: int
    frame: FrameWork
    policy: int
    task: Task
    owner: int
    paths: int


def joinable(works: Sequence[FrameWork]) -> list[list[int]]:
    """Part frames into those that are computed together, by their numbers: features of one kind, and few objects."""
    if len(works) < 2:
        return [[number] for number in range(len(works))]
    batches: list[list[int]] = []
    for group in grouped(range(len(works)), lambda number: _kind_of(works[number].features.coarsest)):
        room = 0
        for number in group:
            room -= len(works[number].tasks)
            if room < 0:
                batches.append([])
                room = OBJECTS_TOGETHER - len(works[number].tasks)
            batches[-1].append(number)
    return batches


def compute_frames(model: Any, works: Sequence[FrameWork], remember: bool = True) -> list[ComputedFrame]:
    """Compute the tasks of frames, all in one batch as far as they are of a kind.

    Args:
        model: a `Sam2VideoNetwork`, or what computes the same in another way.
        works: the frames, of different sessions, with features of one shape and dtype.
        remember: whether memories are encoded; if not, the results have none.

    Returns:
        The results of each frame, which its policy has yet to take note of.
    """
    policies = _numbered([work.policy for work in works])
    rows = [
        _Row(number, work, policy, path, owner, len(task.paths) if task.branches else 0)
        for owner, (number, work, policy, task) in enumerate(
            (number, work, policy, task)
            for number, (work, policy) in enumerate(zip(works, policies, strict=True))
            for task in work.tasks
        )
        for path in task.paths
    ]
    masks, measured = _segment(model, rows)
    owners = list({row.owner: row for row in reversed(rows)}.values())[::-1]
    results = _remember(model, owners, masks, remember)
    computed, start = [], 0
    for work in works:
        of_work = slice(start, start + len(work.tasks))
        computed.append(ComputedFrame(work.policy, work.frame_idx, work.tasks, results[of_work], measured[of_work]))
        start = of_work.stop
    return computed


def _segment(model: Any, rows: Sequence[_Row]) -> tuple[list[list[ObjectMasks]], list[Array | None]]:
    """First two phases: the masks of all objects, one for each path that goes on, and what policies measured."""
    masks: dict[int, list[ObjectMasks]] = {}
    measured: dict[int, Array] = {}
    embeddings = _condition(model, rows)
    for group in grouped(range(len(rows)), lambda number: _decoder_group(rows[number])):
        together = [rows[number] for number in group]
        if isinstance(together[0].task.prompt, MaskPrompt):
            found, numbers = _take_masks(model, together), None
        else:
            found, numbers = _decode(model, together, [embeddings[number] for number in group if number in embeddings])
        owners = list(dict.fromkeys(row.owner for row in together))
        split = [type(found)(*fields) for fields in zip(*found, strict=True)]
        each = len(split) // len(owners)
        for position, owner in enumerate(owners):
            masks[owner] = split[position * each : (position + 1) * each]
            if numbers is not None:
                measured[owner] = numbers[position]
    return [masks[owner] for owner in sorted(masks)], [measured.get(owner) for owner in sorted(masks)]


def _decoder_group(row: _Row) -> tuple:
    """Objects with equal keys can share a call of the decoder without padding.

    Those that no memory is read for share the embedding of their frame; others have one each, wherever they are.
    """
    task = row.task
    if isinstance(task.prompt, MaskPrompt):
        return "mask", row.work
    if task.selection is None:
        return "prompt", row.work, task.num_points, task.previous_logits is not None
    return "tracking", row.policy, task.num_points, task.previous_logits is not None, row.paths


def _take_masks(model: Any, rows: Sequence[_Row]) -> ObjectMasks:
    """The masks that were given as prompts in one frame."""
    frame = rows[0].frame
    given = [row.task.prompt.mask for row in rows if isinstance(row.task.prompt, MaskPrompt)]
    masks: ObjectMasks = model.segment_from_masks(frame.features, frame.arrays.take(stack(given)[:, None]))
    return masks


def _condition(model: Any, rows: Sequence[_Row]) -> dict[int, Array]:
    """First phase: the features of its frame as an object's memories show them, (C, h, w), by the row's number.

    Objects with equally many memories and pointers go together, so that nothing is padded.
    """
    embeddings: dict[int, Array] = {}
    readers = [number for number, row in enumerate(rows) if row.task.selection is not None]
    for group in grouped(readers, lambda number: _memory_group(model, rows[number])):
        together = [rows[number] for number in group]
        arrays = together[0].frame.arrays
        scales = [row.task.key_scale for row in together if row.task.key_scale is not None]
        key_scale = arrays.take(scales, "float32") if scales else None
        with arrays.stacking():
            stored = _gather(model, together)
        conditioned = model.read_memories(_features_of_rows(together), stored, key_scale)
        embeddings.update(zip(group, conditioned, strict=True))
    return embeddings


def _memory_group(model: Any, row: _Row) -> tuple:
    """Objects with equal keys can share a call of memory attention: their memories lie on one device as well."""
    selection, session = row.task.selection, row.frame.session
    assert selection is not None
    scale = pointer_distance_scale(model.config.max_object_pointers_in_encoder, session.num_frames_total)
    counts = len(selection.memories), len(selection.pointers)
    return *counts, scale, row.task.key_scale is not None, session.inference_state_device


def _gather(model: Any, rows: Sequence[_Row]) -> StoredMemories:
    """The memories and pointers that objects' selections name, equally many for each."""
    maps, pointers, selections = [], [], []
    for row in rows:
        selection, history, fetch = row.task.selection, row.task.history, row.frame.session.fetch
        assert selection is not None
        memory_frames, pointer_frames = selection.frames()
        maps.append(stack(fetch(features_of(history.of(memory_frames)))))
        pointers.append(fetch([result.memory.pointer for result in history.of(pointer_frames)]))
        selections.append(selection)
    # Objects that were prompted together read the same temporal indices: one row of encodings serves them all.
    indices = shared_rows([[slot.temporal_index for slot in chosen.memories] for chosen in selections])
    distances = shared_rows([[slot.distance for slot in chosen.pointers] for chosen in selections])
    has_pointers = len(pointers[0]) > 0
    arrays, total = rows[0].frame.arrays, rows[0].frame.session.num_frames_total
    return StoredMemories(
        features=arrays.take_memories(stack(maps)),
        temporal_indices=arrays.take(indices),
        pointers=arrays.take(stack([stack(row) for row in pointers])) if has_pointers else None,
        distances=model.pointer_distances(arrays.take(distances), total) if has_pointers else None,
    )


def _decode(model: Any, rows: Sequence[_Row], embeddings: Sequence[Array]) -> tuple[ObjectMasks, Array | None]:
    """Second phase: masks of objects that go through the decoder alike, and what their policy measures on them."""
    first = rows[0].task
    arrays, features = rows[0].frame.arrays, _features_of_rows(rows)
    if first.selection is None:
        embedding = model.without_memory(features)  # one map for all, (1, C, h, w)
        layout = (1, len(rows))
    else:
        embedding = stack(embeddings)
        layout = (len(rows), 1)
    points = labels = logits = None
    prompts = [row.task.prompt for row in rows if isinstance(row.task.prompt, PointPrompt)]
    if prompts:
        points = _laid_out(concatenate([arrays.take(prompt.points)[None] for prompt in prompts]), layout)
        labels = _laid_out(concatenate([arrays.take(prompt.labels)[None] for prompt in prompts]), layout)
    previous = [arrays.take(row.task.previous_logits) for row in rows if row.task.previous_logits is not None]
    if previous:
        logits = _laid_out(concatenate(previous).clip(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT), layout)
    policy, multimask = rows[0].frame.policy, model.uses_multimask(first.num_points, first.selection is not None)
    if rows[0].paths:
        return _branch(model, rows, model.candidates(features, embedding, multimask=multimask))
    if not (multimask and policy.overrides("choose")) and not policy.overrides("measure"):
        return model.segment(features, embedding, points, labels, logits, multimask), None
    candidates = model.candidates(features, embedding, points, labels, logits, multimask)
    chosen, measured = consult(
        policy,
        [row.task.policy_state for row in rows],
        MaskCandidates(candidates.masks, candidates.ious, candidates.object_score[:, 0], arrays.take),
    )
    return model.choose(candidates, chosen), measured


def _branch(model: Any, rows: Sequence[_Row], candidates: Any) -> tuple[ObjectMasks, Array]:
    """Masks of the paths that go on, of objects with equally many; and what their policy measures on them."""
    paths, arrays, policy = rows[0].paths, rows[0].frame.arrays, rows[0].frame.policy
    count, each = len(rows) // paths, candidates.ious.shape[1]
    size = candidates.masks.shape[2:]
    chosen, measured = policy.branch(
        [row.task.policy_state for row in rows[::paths]],
        MaskCandidates(
            candidates.masks.reshape(count, paths * each, *size),
            candidates.ious.reshape(count, paths * each),
            candidates.object_score.reshape(count, paths),
            arrays.take,
        ),
    )
    flat = (chosen + index_beside(count, chosen)[:, None] * (paths * each)).reshape(-1)
    from_rows = flat // each
    return model.choose(type(candidates)(*(field[from_rows] for field in candidates)), flat % each), measured


def _remember(
    model: Any, owners: Sequence[_Row], found: Sequence[list[ObjectMasks]], remember: bool
) -> list[FrameResult]:
    """Third phase: the memories of all objects and paths, in one batch, and the finished results, one an object."""
    rows = [row for row, masks in zip(owners, found, strict=True) for _ in masks]
    masks = [mask for each in found for mask in each]
    logits = stack([mask.logits for mask in masks])
    scores = stack([mask.object_score for mask in masks])
    prompted = rows[0].frame.arrays.take([row.task.prompt is not None for row in rows])
    filled = fill_holes(logits, model.config.fill_hole_area) if model.config.fill_hole_area > 0 else logits
    # What the user has confirmed is remembered as shown; a tracked mask as the decoder gave it.
    to_encode = where(prompted[:, None, None, None], filled, logits)
    binarize = prompted & model.config.binarize_prompted_memory
    memories = model.encode_memory(_features_of_rows(rows), to_encode, scores, binarize) if remember else None
    results = (
        FrameResult(
            mask_logits=filled[number],
            object_score=scores[number],
            iou=masks[number].iou,
            memory=FrameMemory(None if memories is None else memories[number], masks[number].pointer),
            is_conditioning=row.task.is_conditioning,
            tracked_in_reverse=row.task.tracked_in_reverse,
            provenance=row.task.provenance,
        )
        for number, row in enumerate(rows)
    )
    together = [list(islice(results, len(each))) for each in found]
    return [first if not others else replace(first, alternatives=tuple(others)) for first, *others in together]


def _features_of_rows(rows: Sequence[_Row]) -> FrameFeatures:
    """The features of the objects' frames: those of the frame, if it is one, else a copy for each object."""
    first = rows[0].frame.features
    if rows[0].work == rows[-1].work:  # rows are in the order of their frames
        return first
    features = [row.frame.features for row in rows]
    if all(other is first for other in features):
        return first
    finest, middle = (concatenate([each.fine[level] for each in features]) for level in (0, 1))
    return FrameFeatures((finest, middle), concatenate([each.coarsest for each in features]))


def features_of(results: Sequence[FrameResult]) -> list[Array]:
    """The features (D, h, w) of results that a policy selected."""
    features = [result.memory.features for result in results if result.memory.features is not None]
    assert len(features) == len(results), "features that can be read are never dropped"
    return features


def _kind_of(array: Array) -> tuple:
    return tuple(array.shape), array.dtype, getattr(array, "device", None)


def _numbered(policies: Sequence[MemoryPolicy]) -> list[int]:
    """Give policies a number: the same to equal ones, and to all that are not asked about masks."""
    asked: list[MemoryPolicy] = []
    numbers = []
    for policy in policies:
        if not any(map(policy.overrides, ("choose", "measure", "branch"))):
            numbers.append(-1)
            continue
        if policy not in asked:
            asked.append(policy)
        numbers.append(asked.index(policy))
    return numbers


def _laid_out(rows: Array, layout: tuple[int, int]) -> Array:
    """Rows of N objects on two axes in place of their first."""
    return rows.reshape(*layout, *rows.shape[1:])


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Items with equal keys together, in the order in which they came."""
    groups: dict[Hashable, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def shared_rows(rows: list[list[int]]) -> list[list[int]]:
    """The rows, or one of them if they are all the same."""
    return rows[:1] if all(row == rows[0] for row in rows) else rows
