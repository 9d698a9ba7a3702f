"""One step of tracking: what every object needs in a frame, computed in as few batches as the needs allow.

A step is planned from the session alone (`plan`), and computed in three phases, each of them batched over objects:
condition the frame's features on memories, segment, encode new memories. Objects never share anything but a batch:
N together give what each gives alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..arrays import Array, concatenate, stack, where
from ..masks.connected_components import fill_holes
from ..network.features import FrameFeatures, ObjectMasks, StoredMemories
from ..prompt_values import MASK_PROMPT_LIMIT, NO_OBJECT_LOGIT
from .frame_result import FrameMemory, FrameResult
from .memory.candidates import MaskCandidates
from .memory.policy import MemoryPolicy
from .memory.registry import build_memory_policy
from .memory.selection import MemorySelection
from .plan import Scope, StepPlan, Task, plan_step
from .policy_calls import consult, observe
from .prompts import MaskPrompt, PointPrompt
from .propagation import frames_at_once
from .restoring import Needs, Restorer, needs_of, needs_on, recipe_of
from .result_history import RecordedReads, Results

if TYPE_CHECKING:
    from .model_arrays import ModelArrays
    from .session_state import SessionState

Item = TypeVar("Item")
# What one object reads: its results, and which of them.
Reading = tuple[Results | RecordedReads, MemorySelection]


class ComputedStep(NamedTuple):
    """What was computed in a frame: its features, None if nothing had to be; results of the objects that had tasks;
    and all objects that tracking has passed here."""

    features: FrameFeatures | None
    results: dict[Hashable, FrameResult]
    tracked: list[Hashable]


class Segmented(NamedTuple):
    """The masks of objects in a frame, and what the memory policy measured on them, (K,) for each."""

    masks: dict[Hashable, ObjectMasks]
    measured: dict[Hashable, Array]


class FrameStep:
    """The steps of one session with one model.

    `compute` does all that can fail and only reads the session; `keep` writes. `run` is both. A session that names a
    memory policy has it, in place of `policy`.

    Args:
        model: a `Sam2VideoNetwork`, or what computes the same in another way.
        policy: what objects read.
        session: of the model's kind of arrays.
        arrays: how arrays are brought to the model; by default tensors to its device.
    """

    def __init__(self, model: Any, policy: MemoryPolicy, session: SessionState, arrays: ModelArrays | None = None):
        self.model = model
        own = session.memory_policy
        self.policy = policy if own is None else build_memory_policy(model.config, own)
        self.session = session
        self.arrays = _arrays_of(model, session) if arrays is None else arrays
        self._check_fit()

    def run(
        self,
        frame_idx: int,
        reverse: bool = False,
        scope: Scope = "all",
        encode: Callable[[int], FrameFeatures] | None = None,
    ) -> list[Hashable]:
        """Bring a frame up to date.

        Args:
            frame_idx: the index of the frame.
            reverse: whether the clip is tracked backwards.
            scope: which objects the step is for.
            encode: gives the features of a frame that the session does not hold; by default its pixels are read from
                the session.

        Returns:
            The ids of the objects that tracking has now passed here.
        """
        with self.session.used_by_this_thread():
            step = self.compute(frame_idx, reverse, scope, encode)
            self.keep(frame_idx, step, reverse, scope)
        return step.tracked

    def plan(self, frame_idx: int, reverse: bool = False, scope: Scope = "all") -> StepPlan:
        """Plan a frame; see `plan_step`."""
        return plan_step(self.model.config, self.policy, self.session, frame_idx, reverse, scope)

    def compute(
        self,
        frame_idx: int,
        reverse: bool = False,
        scope: Scope = "all",
        encode: Callable[[int], FrameFeatures] | None = None,
        remember: bool = True,
    ) -> ComputedStep:
        """Plan and compute a frame; the session is read and not written.

        Args:
            frame_idx: as for `run`, like the next three.
            reverse: see there.
            scope: see there.
            encode: see there.
            remember: whether memories are encoded; if not, the results are to be shown and not kept.
        """
        tasks, tracked = self.plan(frame_idx, reverse, scope)
        if not tasks:
            return ComputedStep(None, {}, tracked)
        needs = needs_of(self.session, tasks, frame_idx)
        if needs.dropped:
            self.restore(needs)
            tasks, tracked = self.plan(frame_idx, reverse, scope)
        features = self.session.feature_cache.get(frame_idx)
        if features is None:
            features = (encode or self._encode)(frame_idx)
        segmented = self._segment(features, tasks)
        results = self._remember(features, tasks, segmented.masks, remember)
        observed = observe(self.policy, frame_idx, tasks, results, segmented.measured)
        if self.session.rule.records:
            observed = {task.obj_id: replace(observed[task.obj_id], recipe=recipe_of(task)) for task in tasks}
        return ComputedStep(features, observed, tracked)

    def keep(self, frame_idx: int, step: ComputedStep, reverse: bool = False, scope: Scope = "all") -> None:
        """Store what was computed, and forget what the session need not retain."""
        if step.features is None:
            return
        self.session.store(frame_idx, step.results)
        self.session.feature_cache.put(frame_idx, step.features)
        if scope != "prompts":  # tracking has not come there yet, and still needs what lies behind
            self.session.prune(self.policy, frame_idx, reverse)

    def restore(self, needs: Needs) -> None:
        """Compute again what was dropped of results; nothing else in the session changes."""
        at_once = frames_at_once(None, self.model.device) if hasattr(self.model, "device") else 1
        restorer = Restorer(
            self.session,
            self._compute_again,
            lambda pixels: self.model.encode_frames(self.arrays.take(pixels)),
            at_once,
            self.session.rule.window,
        )
        restorer.restore(needs)

    def recall(self, frame_idx: int) -> None:
        """Bring back the logits of all objects in a frame, where they were dropped."""
        with self.session.used_by_this_thread():
            needs = needs_on(self.session, frame_idx)
            if needs.dropped:
                self.restore(needs)

    def segment_prompts(self, frames: Iterable[int]) -> None:
        """Segment the prompts that wait on frames which tracking does not visit now."""
        for frame_idx in frames:
            self.run(frame_idx, scope="prompts")

    def outputs(
        self, frame_idx: int, computed: Mapping[Hashable, FrameResult] | None = None
    ) -> tuple[Array, Array, Array]:
        """Collect all objects' results in a frame; an object without one there has an empty mask.

        Args:
            frame_idx: the index of the frame.
            computed: results that the session does not hold, by object.

        Returns:
            Mask logits (N, 1, h, w), object scores (N, 1) and IoU scores (N, 1), on the model's device.
        """
        tracks = self.session.tracks
        count, full = len(tracks), self.arrays.full
        masks = full((count, 1, *self.model.stored_shapes().masks), NO_OBJECT_LOGIT)
        scores = full((count, 1), NO_OBJECT_LOGIT)
        ious = full((count, 1), 0.0)
        for row, (obj_id, track) in enumerate(tracks.items()):
            result = (computed or {}).get(obj_id) or track.results.get(frame_idx)
            logits = None if result is None else result.shown_logits
            if result is not None and logits is not None:
                masks[row] = logits
                scores[row] = result.object_score
                ious[row] = result.iou
        return masks, scores, ious

    def _check_fit(self) -> None:
        """Check that the session's results are of a model of this size: one that was loaded may be of another.

        Raises:
            ValueError: if they are not.
        """
        results = (result for track in self.session.tracks.values() for result in track.results.values())
        stored = next(results, None)
        if stored is None:
            return
        expected = self.model.stored_shapes()._asdict()
        given: dict[str, tuple[int, ...]] = {"pointers": tuple(stored.memory.pointer.shape)}
        if stored.mask_logits is not None:
            given["masks"] = stored.mask_logits.shape[1:]
        if stored.memory.features is not None:
            given["memories"] = stored.memory.features.shape
        for name, shape in given.items():
            if tuple(shape) != expected[name]:
                raise ValueError(
                    f"inference_session must be of a model of this size, with {name} of {expected[name]}, "
                    f"got {tuple(shape)}"
                )

    def _encode(self, frame_idx: int) -> FrameFeatures:
        return self.model.encode_frames(self.arrays.take(self.session.pixel_values(frame_idx)))[0]

    def _compute_again(self, features: FrameFeatures, tasks: list[Task]) -> dict[Hashable, FrameResult]:
        """The results of tasks as they were before the policy took note of them."""
        return self._remember(features, tasks, self._segment(features, tasks).masks, remember=True)

    def _segment(self, features: FrameFeatures, tasks: list[Task]) -> Segmented:
        """First two phases: the masks of all objects."""
        from_masks = [task for task in tasks if isinstance(task.prompt, MaskPrompt)]
        from_decoder = [task for task in tasks if not isinstance(task.prompt, MaskPrompt)]
        masks: dict[Hashable, ObjectMasks] = {}
        measured: dict[Hashable, Array] = {}
        if from_masks:
            given = [task.prompt.mask for task in from_masks if isinstance(task.prompt, MaskPrompt)]
            stacked = self.arrays.take(stack(given)[:, None])
            masks.update(_by_object(from_masks, self.model.segment_from_masks(features, stacked)))
        embeddings = self._condition(features, from_decoder)
        for group in grouped(from_decoder, _decoder_group):
            found, numbers = self._decode(features, group, embeddings)
            masks.update(_by_object(group, found))
            if numbers is not None:
                measured.update(zip((task.obj_id for task in group), numbers, strict=True))
        return Segmented(masks, measured)

    def _condition(self, features: FrameFeatures, tasks: list[Task]) -> dict[Hashable, Array]:
        """First phase: the frame's features as each object's memories show them, (C, h, w) an object.

        Objects with equally many memories and pointers go together, so that nothing is padded.
        """
        readers = [(task, task.selection) for task in tasks if task.selection is not None]
        embeddings: dict[Hashable, Array] = {}
        for group in grouped(readers, lambda reader: (len(reader[1].memories), len(reader[1].pointers))):
            read = [(task.history, selection) for task, selection in group]
            scales = [task.key_scale for task, _ in group if task.key_scale is not None]
            key_scale = self.arrays.take(scales, "float32") if scales else None
            conditioned = self.model.read_memories(features, self._gather(read), key_scale)
            embeddings.update(zip((task.obj_id for task, _ in group), conditioned, strict=True))
        return embeddings

    def _gather(self, group: Sequence[Reading]) -> StoredMemories:
        """The memories and pointers that objects' selections name, equally many for each."""
        with self.arrays.stacking():
            return self._stack(group)

    def _stack(self, group: Sequence[Reading]) -> StoredMemories:
        maps, pointers = [], []
        for history, chosen in group:
            memory_frames, pointer_frames = chosen.frames()
            fetch = self.session.fetch
            maps.append(stack([fetch(features_of(result)) for result in history.of(memory_frames)]))
            pointers.append([fetch(result.memory.pointer) for result in history.of(pointer_frames)])
        # Objects that were prompted together read the same temporal indices: one row of encodings serves them all.
        indices = shared_rows([[slot.temporal_index for slot in chosen.memories] for _, chosen in group])
        distances = shared_rows([[slot.distance for slot in chosen.pointers] for _, chosen in group])
        has_pointers = len(pointers[0]) > 0
        total = self.session.num_frames_total
        return StoredMemories(
            features=self.arrays.take_memories(stack(maps)),
            temporal_indices=self.arrays.take(indices),
            pointers=self.arrays.take(stack([stack(row) for row in pointers])) if has_pointers else None,
            distances=self.model.pointer_distances(self.arrays.take(distances), total) if has_pointers else None,
        )

    def _decode(
        self, features: FrameFeatures, group: list[Task], embeddings: dict[Hashable, Array]
    ) -> tuple[ObjectMasks, Array | None]:
        """Second phase: masks of objects that go through the decoder alike, and what the policy measures on them."""
        first = group[0]
        if first.selection is None:
            embedding = self.model.without_memory(features)  # one map for all, (1, C, h, w)
            layout = (1, len(group))
        else:
            embedding = stack([embeddings[task.obj_id] for task in group])
            layout = (len(group), 1)
        points = labels = logits = None
        prompts = [task.prompt for task in group if isinstance(task.prompt, PointPrompt)]
        if prompts:
            points = self.arrays.take(_laid_out(stack([prompt.points for prompt in prompts]), layout))
            labels = self.arrays.take(_laid_out(stack([prompt.labels for prompt in prompts]), layout))
        previous = [task.previous_logits for task in group if task.previous_logits is not None]
        if previous:
            clamped = self.arrays.take(concatenate(previous)).clip(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)
            logits = _laid_out(clamped, layout)
        multimask = self.model.uses_multimask(first.num_points, first.selection is not None)
        if not (multimask and self.policy.overrides("choose")) and not self.policy.overrides("measure"):
            return self.model.segment(features, embedding, points, labels, logits, multimask), None
        candidates = self.model.candidates(features, embedding, points, labels, logits, multimask)
        chosen, measured = consult(
            self.policy,
            [task.policy_state for task in group],
            MaskCandidates(candidates.masks, candidates.ious, candidates.object_score[:, 0], self.arrays.take),
        )
        return self.model.choose(candidates, chosen), measured

    def _remember(
        self,
        features: FrameFeatures,
        tasks: list[Task],
        masks: dict[Hashable, ObjectMasks],
        remember: bool,
    ) -> dict[Hashable, FrameResult]:
        """Third phase: the memories of all objects, in one batch, and the finished results."""
        model = self.model
        logits = stack([masks[task.obj_id].logits for task in tasks])
        scores = stack([masks[task.obj_id].object_score for task in tasks])
        prompted = self.arrays.take([task.prompt is not None for task in tasks])
        filled = fill_holes(logits, model.config.fill_hole_area) if model.config.fill_hole_area > 0 else logits
        # What the user has confirmed is remembered as shown; a tracked mask as the decoder gave it.
        to_encode = where(prompted[:, None, None, None], filled, logits)
        binarize = prompted & model.config.binarize_prompted_memory
        memories = model.encode_memory(features, to_encode, scores, binarize) if remember else None
        return {
            task.obj_id: FrameResult(
                mask_logits=filled[row],
                object_score=scores[row],
                iou=masks[task.obj_id].iou,
                memory=FrameMemory(None if memories is None else memories[row], masks[task.obj_id].pointer),
                is_conditioning=task.is_conditioning,
                tracked_in_reverse=task.tracked_in_reverse,
                provenance=task.provenance,
            )
            for row, task in enumerate(tasks)
        }


def features_of(result: FrameResult) -> Array:
    """The features (D, h, w) of a result that a policy selected."""
    features = result.memory.features
    assert features is not None, "features that can be read are never dropped"
    return features


def _arrays_of(model: Any, session: SessionState) -> ModelArrays:
    from .model_tensors import ModelTensors

    return ModelTensors(model, session)


def _laid_out(rows: Array, layout: tuple[int, int]) -> Array:
    """Rows of N objects on two axes in place of their first."""
    return rows.reshape(*layout, *rows.shape[1:])


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
    """Split a batch into its objects' rows."""
    return {task.obj_id: type(masks)(*(field[row] for field in masks)) for row, task in enumerate(tasks)}


def shared_rows(rows: list[list[int]]) -> list[list[int]]:
    """The rows, or one of them if they are all the same."""
    return rows[:1] if all(row == rows[0] for row in rows) else rows
