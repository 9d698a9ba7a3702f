"""One step of tracking: what every object needs in a frame, computed in as few batches as the needs allow.

`plan_step` decides from the session alone, without a tensor, what is to be done; `run_tasks` does it in three phases,
each of them batched over objects: condition the frame's features on memories, segment, encode new memories. Objects
never share anything but a batch: N together give what each gives alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..fast.array_ops import send
from ..masks.mask_utils import fill_holes
from ..network.features import FrameFeatures
from ..network.mask_decoder import NO_OBJECT_LOGIT
from ..network.video_network import ObjectMasks, Sam2VideoNetwork, StoredMemories
from .memory_bank import MemorySelection
from .object_state import FrameMemory, FrameResult, MaskPrompt, ObjectTrack, PointPrompt, Prompt, Provenance
from .session import Sam2VideoInferenceSession

# Logits handed back to the decoder are clamped to this, as the official predictor does against rare extremes.
PREVIOUS_LOGIT_LIMIT = 32.0

Item = TypeVar("Item")
# Which objects a step is for: all; those with a pending prompt on the frame; those, and the ones whose first prompt
# lies further on; none, so that results are handed out as they are.
Scope = Literal["all", "prompts", "unprompted", "none"]


@dataclass(frozen=True)
class Task:
    """What one object needs in a frame.

    `history` holds the results that it reads. `prompt` None means tracking. `selection` None means that no memory is
    read. `previous_logits` (1, h, w) are those that a click corrects.
    """

    obj_id: Hashable
    history: ObjectTrack
    prompt: Prompt | None = None
    selection: MemorySelection | None = None
    provenance: Provenance | None = None
    previous_logits: Tensor | None = None
    is_conditioning: bool = False
    tracked_in_reverse: bool | None = None

    @property
    def num_points(self) -> int:
        return len(self.prompt.labels) if isinstance(self.prompt, PointPrompt) else 0


class StepPlan(NamedTuple):
    """`tasks` are to be computed; `tracked` are the objects that tracking passes, computed or still standing."""

    tasks: list[Task]
    tracked: list[Hashable]


def plan_step(
    model: Sam2VideoNetwork,
    session: Sam2VideoInferenceSession,
    frame_idx: int,
    reverse: bool = False,
    scope: Scope = "all",
) -> StepPlan:
    """What is to be done in a frame for the objects in `scope`.

    Nothing is to be done for results that still stand: conditioning frames, and tracked frames whose memories are
    what they were when the result was computed.
    """
    tasks: list[Task] = []
    tracked: list[Hashable] = []
    for obj_id, track in session.tracks.items():
        conditioning = track.conditioning_frames()
        if not _is_in_scope(scope, track, conditioning, frame_idx):
            continue
        if frame_idx in track.pending:
            tasks.append(_prompt_task(model, obj_id, track, frame_idx))
        elif _is_tracked(model, conditioning, frame_idx, reverse):
            tasks += _tracking_tasks(model, obj_id, track, frame_idx, reverse)
        elif frame_idx not in conditioning:
            continue
        tracked.append(obj_id)
    return StepPlan(tasks, tracked)


def _is_in_scope(scope: Scope, track: ObjectTrack, conditioning: list[int], frame_idx: int) -> bool:
    if scope == "prompts":
        return frame_idx in track.pending
    if scope == "unprompted":
        return frame_idx in track.pending or min(conditioning, default=frame_idx) > frame_idx
    return scope == "all"


def _tracking_tasks(
    model: Sam2VideoNetwork, obj_id: Hashable, track: ObjectTrack, frame_idx: int, reverse: bool
) -> list[Task]:
    """The task of tracking an object here; none if its result was computed from what it would read now."""
    selection = track.select_memory(model.memory_rule, frame_idx, reverse)
    provenance = track.provenance(selection, reverse)
    result = track.results.get(frame_idx)
    if result is not None and result.stands(reverse, provenance):
        return []
    return [Task(obj_id, track, None, selection, provenance, tracked_in_reverse=reverse)]


def _prompt_task(model: Sam2VideoNetwork, obj_id: Hashable, track: ObjectTrack, frame_idx: int) -> Task:
    prompt, previous, history = track.prompts[frame_idx], track.results.get(frame_idx), track.before_prompts()
    passed_in_reverse = None if previous is None else previous.tracked_in_reverse
    # Where tracking has passed, a prompt corrects what memory says; elsewhere it speaks alone.
    corrects = passed_in_reverse is not None
    reads_memory = corrects and isinstance(prompt, PointPrompt) and bool(history.conditioning_frames())
    # What conditions an object goes on doing so when it is corrected, or nothing might be left that does.
    stays_conditioning = previous is not None and previous.is_conditioning
    reverse = bool(passed_in_reverse)
    return Task(
        obj_id,
        history,
        prompt,
        selection=history.select_memory(model.memory_rule, frame_idx, reverse) if reads_memory else None,
        previous_logits=None if previous is None else previous.mask_logits,
        is_conditioning=stays_conditioning or not corrects or model.config.add_all_frames_to_correct_as_cond,
        tracked_in_reverse=passed_in_reverse,
    )


def _is_tracked(model: Sam2VideoNetwork, conditioning: list[int], frame_idx: int, reverse: bool) -> bool:
    """Whether an object is tracked here: it has been prompted, neither here nor only further on."""
    if not conditioning or frame_idx in conditioning:
        return False
    if model.config.track_before_first_prompt:
        return True
    return max(conditioning) > frame_idx if reverse else min(conditioning) < frame_idx


def run_tasks(
    model: Sam2VideoNetwork, session: Sam2VideoInferenceSession, features: FrameFeatures, tasks: list[Task]
) -> dict[Hashable, FrameResult]:
    """Computes the tasks of a frame; the session is read and not written."""
    given = [task.prompt.mask for task in tasks if isinstance(task.prompt, MaskPrompt)]
    from_masks = [task for task in tasks if isinstance(task.prompt, MaskPrompt)]
    from_decoder = [task for task in tasks if not isinstance(task.prompt, MaskPrompt)]
    masks: dict[Hashable, ObjectMasks] = {}
    if given:
        stacked = torch.stack(given)[:, None].to(model.device)
        masks.update(_by_object(from_masks, model.segment_from_masks(features, stacked)))
    embeddings = _condition(model, session, features, from_decoder)
    for group in grouped(from_decoder, _decoder_group):
        masks.update(_by_object(group, _segment(model, features, group, embeddings)))
    return _remember(model, features, tasks, masks)


def _condition(
    model: Sam2VideoNetwork, session: Sam2VideoInferenceSession, features: FrameFeatures, tasks: list[Task]
) -> dict[Hashable, Tensor]:
    """First phase: the frame's features as each object's memories show them, (C, h, w) an object.

    Objects with equally many memories and pointers go together, so that nothing is padded.
    """
    readers = [(task, task.selection) for task in tasks if task.selection is not None]
    embeddings: dict[Hashable, Tensor] = {}
    for group in grouped(readers, lambda reader: (len(reader[1].memories), len(reader[1].pointers))):
        stored = _gather(model, session, [(task.history, selection) for task, selection in group])
        conditioned = model.read_memories(features, stored)
        embeddings.update(zip((task.obj_id for task, _ in group), conditioned, strict=True))
    return embeddings


def _gather(
    model: Sam2VideoNetwork,
    session: Sam2VideoInferenceSession,
    group: Sequence[tuple[ObjectTrack, MemorySelection]],
) -> StoredMemories:
    """The memories and pointers that objects' selections name, equally many for each."""
    device = model.device
    maps = [torch.stack([history.features(slot.frame) for slot in chosen.memories]) for history, chosen in group]
    pointers = [[history.results[slot.frame].memory.pointer for slot in chosen.pointers] for history, chosen in group]
    # Objects that were prompted together read the same moments: one row of encodings serves them all.
    moments = shared_rows([[slot.temporal_index for slot in chosen.memories] for _, chosen in group])
    distances = shared_rows([[slot.distance for slot in chosen.pointers] for _, chosen in group])
    has_pointers = len(pointers[0]) > 0
    return StoredMemories(
        features=torch.stack(maps).to(device),
        moments=send(moments, device),
        pointers=torch.stack([torch.stack(row) for row in pointers]).to(device) if has_pointers else None,
        distances=model.pointer_distances(distances, session.num_frames_total) if has_pointers else None,
    )


def _segment(
    model: Sam2VideoNetwork, features: FrameFeatures, group: list[Task], embeddings: dict[Hashable, Tensor]
) -> ObjectMasks:
    """Second phase: masks of objects that go through the decoder alike."""
    first = group[0]
    if first.selection is None:
        embedding = model.without_memory(features)  # one map for all, (1, C, h, w)
        layout = (1, len(group))
    else:
        embedding = torch.stack([embeddings[task.obj_id] for task in group])
        layout = (len(group), 1)
    points = labels = logits = None
    prompts = [task.prompt for task in group if isinstance(task.prompt, PointPrompt)]
    if prompts:
        points = torch.stack([prompt.points for prompt in prompts]).unflatten(0, layout).to(model.device)
        labels = torch.stack([prompt.labels for prompt in prompts]).unflatten(0, layout).to(model.device)
    previous = [task.previous_logits for task in group if task.previous_logits is not None]
    if previous:
        clamped = torch.cat(previous).to(model.device).clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
        logits = clamped.unflatten(0, layout)
    return model.segment(features, embedding, points, labels, logits, _uses_multimask(model, first))


def _remember(
    model: Sam2VideoNetwork, features: FrameFeatures, tasks: list[Task], masks: dict[Hashable, ObjectMasks]
) -> dict[Hashable, FrameResult]:
    """Third phase: the memories of all objects, in one batch, and the finished results."""
    if not tasks:
        return {}
    logits = torch.stack([masks[task.obj_id].logits for task in tasks])
    scores = torch.stack([masks[task.obj_id].object_score for task in tasks])
    prompted = send([task.prompt is not None for task in tasks], logits.device)
    filled = fill_holes(logits, model.config.fill_hole_area) if model.config.fill_hole_area > 0 else logits
    # What the user has confirmed is remembered as shown; a tracked mask as the decoder gave it.
    to_encode = torch.where(prompted[:, None, None, None], filled, logits)
    memories = model.encode_memory(features, to_encode, scores, binarize=prompted)
    return {
        task.obj_id: FrameResult(
            mask_logits=filled[row],
            object_score=scores[row],
            iou=masks[task.obj_id].iou,
            memory=FrameMemory(memories[row], masks[task.obj_id].pointer),
            is_conditioning=task.is_conditioning,
            tracked_in_reverse=task.tracked_in_reverse,
            provenance=task.provenance,
        )
        for row, task in enumerate(tasks)
    }


def _uses_multimask(model: Sam2VideoNetwork, task: Task) -> bool:
    """Whether several masks are predicted and the best is taken: for few points, where one click is ambiguous."""
    config = model.config
    allowed = config.multimask_output_for_tracking or task.selection is None
    in_range = config.multimask_min_pt_num <= task.num_points <= config.multimask_max_pt_num
    return config.multimask_output_in_sam and allowed and in_range


def _decoder_group(task: Task) -> tuple:
    """Objects with equal keys can share a call of the decoder without padding."""
    return task.selection is None, task.num_points, task.previous_logits is not None


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Items with equal keys together, in the order in which they came."""
    groups: dict[Hashable, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _by_object(tasks: Sequence[Task], masks: ObjectMasks) -> dict[Hashable, ObjectMasks]:
    """Splits a batch into its objects' rows."""
    return {task.obj_id: type(masks)(*(field[row] for field in masks)) for row, task in enumerate(tasks)}


def shared_rows(rows: list[list[int]]) -> list[list[int]]:
    """The rows, or one of them if they are all the same."""
    return rows[:1] if all(row == rows[0] for row in rows) else rows


def collect_outputs(
    model: Sam2VideoNetwork, session: Sam2VideoInferenceSession, frame_idx: int
) -> tuple[Tensor, Tensor, Tensor]:
    """All objects' masks (N, 1, h, w), object scores (N, 1) and IoU scores (N, 1) in a frame, on the model's device.

    An object without a result there has an empty mask.
    """
    height, width = model.prompt_encoder.mask_input_size
    count = len(session.tracks)
    masks = torch.full((count, 1, height, width), NO_OBJECT_LOGIT, device=model.device)
    scores = torch.full((count, 1), NO_OBJECT_LOGIT, device=model.device)
    ious = torch.zeros((count, 1), device=model.device)
    for row, track in enumerate(session.tracks.values()):
        result = track.results.get(frame_idx)
        if result is not None and result.mask_logits is not None:
            masks[row] = result.mask_logits
            scores[row] = result.object_score
            ious[row] = result.iou
    return masks, scores, ious
