"""One step of tracking: a frame of one session, or frames of several, planned, computed together and kept.

A step is planned from the session alone (`plan`), and computed with those of other sessions in one batch (`batch`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arrays import Array, concatenate
from ..network.features import FrameFeatures
from ..prompt_values import NO_OBJECT_LOGIT
from .attempts import attempt, attempt_together
from .batch import FrameWork, compute_frames, grouped, joinable
from .frame_result import FrameResult
from .memory.policy import MemoryPolicy
from .memory.registry import build_memory_policy
from .plan import Scope, StepPlan, Task, plan_step
from .policy_calls import observe
from .propagation import FrameReader, frames_at_once
from .restoring import Needs, Restorer, needs_of, needs_on, with_recipes

if TYPE_CHECKING:
    from .model_arrays import ModelArrays
    from .session_state import SessionState


class ComputedStep(NamedTuple):
    """What was computed in a frame: results of the objects that had tasks; and all objects that tracking has passed
    here."""

    results: dict[Hashable, FrameResult]
    tracked: list[Hashable]


class FrameStep:
    """The steps of one session with one model.

    `prepare` plans and only reads the session; `keep` writes what `run_together` has computed. A session that names a
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

    def run(self, frame_idx: int, reverse: bool = False, scope: Scope = "all") -> list[Hashable]:
        """Bring a frame up to date.

        Args:
            frame_idx: the index of the frame.
            reverse: whether the clip is tracked backwards.
            scope: which objects the step is for.

        Returns:
            The ids of the objects that tracking has now passed here.
        """
        return run_alone(FrameRequest(self, frame_idx, reverse, scope)).tracked

    def plan(self, frame_idx: int, reverse: bool = False, scope: Scope = "all") -> StepPlan:
        """Plan a frame; see `plan_step`."""
        return plan_step(self.model.config, self.policy, self.session, frame_idx, reverse, scope)

    def prepare(self, frame_idx: int, reverse: bool = False, scope: Scope = "all") -> StepPlan:
        """Plan a frame, and compute again what it takes of results that were dropped."""
        plan = self.plan(frame_idx, reverse, scope)
        needs = needs_of(self.session, plan.tasks, frame_idx)
        if not needs.dropped:
            return plan
        self.restore(needs)
        return self.plan(frame_idx, reverse, scope)

    def work(self, frame_idx: int, features: FrameFeatures, tasks: Sequence[Task]) -> FrameWork:
        """Describe tasks of a frame for a batch."""
        return FrameWork(self.session, self.policy, self.arrays, frame_idx, features, tasks)

    def keep(
        self,
        frame_idx: int,
        features: FrameFeatures,
        results: Mapping[Hashable, FrameResult],
        reverse: bool = False,
        scope: Scope = "all",
    ) -> None:
        """Store what was computed, and forget what the session need not retain."""
        self.session.store(frame_idx, results)
        self.session.feature_cache.put(frame_idx, features)
        if scope != "prompts":  # tracking has not come there yet, and still needs what lies behind
            self.session.prune(self.policy, frame_idx, reverse)

    def restore(self, needs: Needs) -> None:
        """Compute again what was dropped of results; nothing else in the session changes."""
        restorer = Restorer(
            self.session, self._compute_again, self.encode, self.frames_at_once, self.session.rule.window
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
            result = (computed or {}).get(obj_id) or track.results.shown(frame_idx)
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

    @property
    def frames_at_once(self) -> int:
        """How many frames are encoded in one batch, where nobody asks for another number."""
        return frames_at_once(None, self.model.device) if hasattr(self.model, "device") else 1

    def encode(self, pixels: Array) -> Sequence[FrameFeatures]:
        """Encode frames (B, 3, H, W), wherever they lie; the features of each."""
        encoded: Sequence[FrameFeatures] = self.model.encode_frames(self.arrays.take(pixels))
        return encoded

    def _compute_again(self, features: FrameFeatures, tasks: list[Task]) -> dict[Hashable, FrameResult]:
        """The results of tasks as they were before the policy took note of them."""
        (computed,) = compute_frames(self.model, [self.work(0, features, tasks)])
        return {task.obj_id: result for task, result in zip(tasks, computed.results, strict=True)}


def _arrays_of(model: Any, session: SessionState) -> ModelArrays:
    from .model_tensors import ModelTensors

    return ModelTensors(model, session)


@dataclass
class FrameRequest:
    """A frame of one session that is to be brought up to date.

    Attributes:
        step: of the session.
        frame_idx: the index of the frame.
        reverse: whether the clip is tracked backwards.
        scope: which objects the step is for.
        reader: reads the frame ahead; by default its pixels are read from the session.
        frame: the next frame of a stream as the model's input, (3, H, W), which the session takes up.
        silent: whether the frame is not handed out.
    """

    step: FrameStep
    frame_idx: int
    reverse: bool = False
    scope: Scope = "all"
    reader: FrameReader | None = None
    frame: Array | None = None
    silent: bool = False

    def held(self) -> FrameFeatures | None:
        """The features of the frame, if they are at hand."""
        held = self.step.session.feature_cache.get(self.frame_idx)
        return self.reader.held(self.frame_idx) if held is None and self.reader is not None else held

    def pixels(self) -> Array:
        """Read the frame, (B, 3, H, W), and those after it that are encoded with it."""
        session = self.step.session
        if self.frame is not None:
            return session.frames.as_input(self.frame)
        return session.pixel_values(self.frame_idx) if self.reader is None else self.reader.pixels(self.frame_idx)

    def passed(self) -> None:
        """Note that the session has come to the frame, once all is done there."""
        if self.scope == "all":
            self.step.session.last_visited = self.frame_idx

    def take(self, encoded: Sequence[FrameFeatures]) -> FrameFeatures:
        """Take the features of what `pixels` gave; those of the frame itself."""
        if self.reader is not None:
            self.reader.put(self.frame_idx, encoded)
        return encoded[0]


def run_alone(request: FrameRequest, remember: bool = True) -> ComputedStep:
    """Bring a frame of one session up to date; see `run_together`."""
    outcome = run_together([request], remember)[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def run_together(requests: Sequence[FrameRequest], remember: bool = True) -> list[ComputedStep | Exception]:
    """Bring frames of several sessions up to date: encoded in one batch, and all objects computed in one batch.

    All that can fail comes before the first session is written to. What fails, fails for its session alone, which stays
    as it was.

    Args:
        requests: frames of different sessions of one model.
        remember: whether the frames are remembered. If not, the sessions stay as they are, but streams take the frame.

    Returns:
        For each frame what was computed, or the error that kept it from that.
    """
    steps = [_Underway(request) for request in requests]
    with ExitStack() as used:
        _each(steps, lambda step: used.enter_context(step.request.step.session.used_by_this_thread()))
        _each(steps, _Underway.plan)
        _each(steps, _Underway.read)
        _encode([step for step in steps if step.pixels is not None])
        _compute([step for step in steps if step.features is not None], remember)
        _each(steps, lambda step: step.keep(remember))
    return [step.outcome() for step in steps]


class _Underway:
    """A request on its way: what is known so far, or the error that ended it."""

    def __init__(self, request: FrameRequest):
        self.request = request
        self.tasks: Sequence[Task] = []
        self.tracked: list[Hashable] = []
        self.pixels: Array | None = None
        self.features: FrameFeatures | None = None
        self.results: dict[Hashable, FrameResult] = {}
        self.error: Exception | None = None

    def plan(self) -> None:
        """Find out what is to be done."""
        request = self.request
        self.tasks, self.tracked = request.step.prepare(request.frame_idx, request.reverse, request.scope)

    def read(self) -> None:
        """Take the features that are at hand, or read the pixels."""
        if self.tasks:
            self.features = self.request.held()
            if self.features is None:
                self.pixels = self.request.pixels()

    def work(self) -> FrameWork:
        """Describe the frame for a batch."""
        assert self.features is not None
        return self.request.step.work(self.request.frame_idx, self.features, self.tasks)

    def recorded(self, results: dict[Hashable, FrameResult]) -> dict[Hashable, FrameResult]:
        """Note how results were computed, if the session keeps that."""
        if not self.request.step.session.rule.records:
            return results
        policy = self.request.step.policy
        return {task.obj_id: with_recipes(policy, task, results[task.obj_id]) for task in self.tasks}

    def keep(self, remember: bool) -> None:
        """Write what was computed into the session."""
        request, step = self.request, self.request.step
        if request.frame is not None:
            step.session.add_frame(request.frame, request.frame_idx)
        if not remember:
            return
        if self.features is not None:
            step.keep(request.frame_idx, self.features, self.results, request.reverse, request.scope)

    def outcome(self) -> ComputedStep | Exception:
        """What was computed, or the error."""
        return ComputedStep(self.results, self.tracked) if self.error is None else self.error


def _each(steps: Iterable[_Underway], action: Callable[[_Underway], Any]) -> None:
    """Do something for each request that has not failed."""
    for step in steps:
        if step.error is None:
            outcome = attempt(action, step)
            step.error = outcome if isinstance(outcome, Exception) else None


def _encode(steps: Sequence[_Underway]) -> None:
    """Encode the pixels of frames, as many at once as suits the device."""
    for group in grouped(steps, lambda step: _kind(step.pixels)):
        count = group[0].request.step.frames_at_once
        for together in [group[start : start + count] for start in range(0, len(group), count)]:
            for step, encoded in zip(together, attempt_together(_encode_batch, together), strict=True):
                if isinstance(encoded, Exception):
                    step.error = encoded
                else:
                    step.features = step.request.take(encoded)


def _kind(pixels: Array) -> tuple:
    return tuple(pixels.shape[1:]), pixels.dtype, getattr(pixels, "device", None)


def _encode_batch(steps: Sequence[_Underway]) -> list[Sequence[FrameFeatures]]:
    pixels: list[Array] = [step.pixels for step in steps]
    encoded = iter(steps[0].request.step.encode(pixels[0] if len(pixels) == 1 else concatenate(pixels)))
    return [list(islice(encoded, len(each))) for each in pixels]


def _compute(steps: Sequence[_Underway], remember: bool) -> None:
    """Compute the tasks of frames, and let the policies take note of the results."""

    works = [step.work() for step in steps]

    def compute(numbers: Sequence[int]) -> list[dict[Hashable, FrameResult]]:
        model = steps[numbers[0]].request.step.model
        observed = observe(compute_frames(model, [works[number] for number in numbers], remember))
        return [steps[number].recorded(results) for number, results in zip(numbers, observed, strict=True)]

    for numbers in joinable(works):
        for number, results in zip(numbers, attempt_together(compute, numbers), strict=True):
            if isinstance(results, Exception):
                steps[number].error = results
            else:
                steps[number].results = results
