"""`Sam2VideoModel`: objects segmented and tracked through clips and streams."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .configuration_sam2 import Sam2VideoConfig
from .modeling_sam2 import Sam2PreTrainedModel, Sam2PromptableModel
from .network.video_network import Sam2VideoNetwork
from .outputs import Sam2VideoSegmentationOutput
from .sizes import read_size
from .tracking.attempts import attempt
from .tracking.frame_result import FrameResult
from .tracking.memory.registry import build_memory_policy
from .tracking.propagation import Direction, Pass, frames_at_once, plan_passes
from .tracking.schedule import SessionSchedule
from .tracking.session import Sam2VideoInferenceSession
from .tracking.step import FrameStep
from .tracking.visits import Visit, Visited, visit_clip, visit_frame, visit_frames


class Sam2VideoPreTrainedModel(Sam2PreTrainedModel):
    """What video models share: configuration, initialisation, loading and saving."""

    config_class = Sam2VideoConfig
    base_model_prefix = "sam2_video"
    input_modalities = ("video",)


class Sam2VideoModel(Sam2VideoNetwork, Sam2VideoPreTrainedModel, Sam2PromptableModel):
    """SAM 2 for videos: prompts on some frames, masks on all of them (arXiv 2408.00714).

    Call it with a session and a frame, or iterate over `propagate_in_video_iterator`. All state is in the session:
    one model serves any number of them, from any number of threads.
    """

    def __init__(self, config: Sam2VideoConfig):
        config.check()
        super().__init__(config)
        self.memory_policy = build_memory_policy(config)
        self.post_init()

    @torch.inference_mode()
    def forward(
        self,
        inference_session: Sam2VideoInferenceSession | None = None,
        frame_idx: int | None = None,
        frame: Tensor | None = None,
        reverse: bool = False,
        run_mem_encoder: bool = True,
        return_dict: bool | None = None,
        **unexpected: Any,
    ) -> Sam2VideoSegmentationOutput | tuple:
        """Segments all objects of a session in one frame: prompts that wait there, and tracking for the others.

        Prompts that wait on other frames are segmented before, so that they count.

        Args:
            inference_session: from `Sam2VideoProcessor.init_video_session`; takes up the results.
            frame_idx: which frame of the clip. For a stream, the next one if left out.
            frame: the next frame of a stream, the processor's `pixel_values` of it, (3, H, W). Of any size: the
                processor brings images to that of the model.
            reverse: track backwards, from memories of the frames after this one.
            run_mem_encoder: whether the frame is remembered. If not, its masks are computed and handed out, and the
                session stays as it was; a frame of a stream is taken all the same.
            return_dict: whether the result is an output object, and not a tuple of its values; the configuration's
                choice by default.

        Returns:
            The masks and scores of all objects.

        Raises:
            ValueError: for a wrong combination of arguments, or pixels that are none.
            IndexError: for a frame that the clip does not have, or a stream has passed.
            TypeError: for an index that is no integer. The session is then as it was.
        """
        session = _session(inference_session, unexpected)
        step = FrameStep(self, self.memory_policy, session)
        visited = visit_frame(step, frame_idx, frame, self._input_shape(), reverse, run_mem_encoder)
        output = self._output(step, *visited)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    @torch.inference_mode()
    def step(
        self,
        inference_sessions: Sequence[Sam2VideoInferenceSession],
        frame_idx: int | Sequence[int | None] | None = None,
        frames: Sequence[Tensor | None] | None = None,
        reverse: bool = False,
        run_mem_encoder: bool = True,
        return_exceptions: bool = False,
    ) -> list[Sam2VideoSegmentationOutput | Exception]:
        """Segments all objects of several sessions, each in one frame of its own, as `forward` does for one session.

        The frames are encoded together, and the objects of all sessions computed in one batch. Each session gets what
        it gets alone, up to rounding. What fails in one session, such as a damaged frame, leaves that session as it
        was, and the others are computed all the same.

        Args:
            inference_sessions: different sessions, of any clips and streams, and with any memory policies.
            frame_idx: which frame, for all sessions or for each; by default the one after the frame visited last, at
                first the earliest with a prompt.
            frames: for each session the next frame of a stream, as in `forward`; None for sessions over a clip, or over
                a live source, whose next frame is waited for.
            reverse: track backwards, from memories of the frames after.
            run_mem_encoder: whether the frames are remembered, as in `forward`.
            return_exceptions: return the error of a session in the place of its output. If not, the first error is
                raised after all other sessions have been computed; calling the model with one of them then gives its
                masks.

        Returns:
            For each session the masks and scores of its objects.

        Raises:
            TypeError: for what is no session.
            ValueError: for a session that is there twice, or lists of different lengths.
            Exception: the first error of a session, without `return_exceptions`.
        """
        sessions = [_session(session, {}) for session in inference_sessions]
        indices = _one_each("frame_idx", frame_idx, sessions)
        given = _one_each("frames", frames, sessions)
        if len({id(session) for session in sessions}) < len(sessions):
            raise ValueError("inference_sessions must be different sessions, got one of them twice")

        def visit(session: Sam2VideoInferenceSession, index: int | None, frame: Tensor | None) -> Visit:
            index = session.next_frame(reverse) if index is None and frame is None else index
            return Visit(FrameStep(self, self.memory_policy, session), index, frame, reverse)

        visits = [attempt(visit, *arguments) for arguments in zip(sessions, indices, given, strict=True)]
        asked = [one for one in visits if not isinstance(one, Exception)]
        visited = iter(visit_frames(asked, self._input_shape(), run_mem_encoder))
        outcomes = [one if isinstance(one, Exception) else self._outcome(one, next(visited)) for one in visits]
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not return_exceptions:
                raise outcome
        return outcomes

    def _outcome(self, visit: Visit, visited: Visited | Exception) -> Sam2VideoSegmentationOutput | Exception:
        return visited if isinstance(visited, Exception) else self._output(visit.step, *visited)

    def track_together(
        self, inference_sessions: Iterable[Sam2VideoInferenceSession] = (), direction: Direction = "forward"
    ) -> SessionSchedule:
        """Tracks through the clips and live sources of several sessions at once, in one batch.

        ```python
        for frame in model.track_together(sessions):
            if frame.error is not None:
                print(frame.session, "has failed:", frame.error)
            elif frame.output is not None:
                show(frame.session, frame.output.pred_masks)
        ```

        Args:
            inference_sessions: different sessions, with prompts. `SessionSchedule.add` takes more at any time.
            direction: of all of them, as for `propagate_in_video_iterator`.

        Returns:
            What gives the frames of all sessions as they are computed, each with its session. Sessions that have ended,
            failed or wait for their camera do not hold up the others.

        Raises:
            ValueError: as `propagate_in_video_iterator`, or for a session that is there twice.
            TypeError: for what is no session.
        """
        schedule = SessionSchedule(
            lambda session: FrameStep(self, self.memory_policy, _session(session, {})),
            self._output,
            torch.inference_mode,
        )
        for session in inference_sessions:
            schedule.add(session, direction)
        return schedule

    @torch.inference_mode()
    def segment_prompts(
        self, inference_session: Sam2VideoInferenceSession, frame_idx: int
    ) -> Sam2VideoSegmentationOutput:
        """Segments the prompts that wait on a frame and nothing else: no other object is tracked there.

        Args:
            inference_session: the session; takes up the results.
            frame_idx: the frame.

        Returns:
            The masks and scores of all objects in the frame; an object without a result there has an empty mask.

        Raises:
            IndexError: for a frame that the clip does not have, or a stream has passed.
            TypeError: for an index that is no integer, or what is no session.
        """
        session = _session(inference_session, {})
        frame_idx = session.check_frame_idx(frame_idx)
        session.check_not_gone(frame_idx)
        step = FrameStep(self, self.memory_policy, session)
        step.segment_prompts([frame_idx])
        return self._output(step, frame_idx)

    def propagate_in_video_iterator(
        self,
        inference_session: Sam2VideoInferenceSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        show_progress_bar: bool = False,
        direction: Direction | None = None,
        in_frame_order: bool = False,
        frames_per_batch: int | None = None,
    ) -> Iterator[Sam2VideoSegmentationOutput]:
        """Tracks all objects of a session through its clip, frame by frame.

        Prompts that wait on any frame are segmented first. Results that still stand are handed out again without
        being computed, so after a correction only what it reaches costs time.

        Args:
            inference_session: the session; its prompts may be changed between two iterations of this.
            start_frame_idx: the first frame to visit; by default the earliest prompted one, of a stream that has gone
                past it the newest.
            max_frame_num_to_track: how many frames to go beyond the first; by default to the end of the clip.
            reverse: the same as `direction="backward"`.
            show_progress_bar: whether to show progress on the error stream.
            direction: "forward", "backward", or "both": forward, then every object from its own first prompt back to
                the start of the clip. A frame that both directions visit is handed out by both, by the second with
                all objects in it.
            in_frame_order: hand out each frame once, in ascending order, after all tracking is done; needs a
                session that retains "everything".
            frames_per_batch: how many frames of a clip are encoded at once, ahead of being handed out; the masks are
                the same up to rounding. By default 1 on a CPU and 4 elsewhere, and always 1 for streams.

        Raises a `ValueError` if there are no prompts, an `IndexError` for a frame outside the clip. If the video
        cannot be read further, the error is raised after the frames before the damage; their results are kept.
        """
        _session(inference_session, {})
        if reverse and direction not in (None, "backward"):
            raise ValueError(f'reverse=True means direction="backward", got direction={direction!r}')
        passes = plan_passes(
            inference_session,
            direction or ("backward" if reverse else "forward"),
            start_frame_idx,
            max_frame_num_to_track,
            in_frame_order,
        )
        at_once = frames_at_once(frames_per_batch, self.device)
        return self._propagate(inference_session, passes, show_progress_bar, at_once)

    @torch.inference_mode()
    def _propagate(
        self, session: Sam2VideoInferenceSession, passes: Sequence[Pass], show_progress_bar: bool, at_once: int
    ) -> Iterator[Sam2VideoSegmentationOutput]:
        step = FrameStep(self, self.memory_policy, session)
        total = sum(len(one_pass.frames) for one_pass in passes) if session.num_frames_total is not None else None
        with (
            tqdm(total=total, disable=not show_progress_bar) as progress,
            contextlib.closing(visit_clip(step, passes, at_once, progress)) as frames,
        ):
            for frame_idx in frames:
                yield self._output(step, frame_idx)

    def _input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's input."""
        return (self.config.num_channels, *read_size(self.config.image_size, "image_size"))

    def _output(
        self, step: FrameStep, frame_idx: int, computed: Mapping[Hashable, FrameResult] | None = None
    ) -> Sam2VideoSegmentationOutput:
        masks, scores, ious = step.outputs(frame_idx, computed)
        return Sam2VideoSegmentationOutput(
            object_ids=step.session.obj_ids,
            pred_masks=masks,
            object_score_logits=scores,
            iou_scores=ious,
            frame_idx=frame_idx,
        )


def _session(session: Sam2VideoInferenceSession | None, unexpected: dict[str, Any]) -> Sam2VideoInferenceSession:
    """Check the arguments of `forward`; images and labels in place of a session are those of a training."""
    if unexpected:
        advice = ""
        if {"pixel_values", "labels"} & unexpected.keys():
            advice = "; to train on clips, load the checkpoint as sam2_hf.training.Sam2VideoForTraining"
        names = ", ".join(map(repr, unexpected))
        raise TypeError(f"Sam2VideoModel.forward() takes a session and no {names}{advice}")
    if not isinstance(session, Sam2VideoInferenceSession):
        raise TypeError(f"inference_session must be a Sam2VideoInferenceSession, got {type(session).__name__}")
    return session


def _one_each(name: str, values: Any, sessions: Sequence[Any]) -> list[Any]:
    """Values for sessions, one each; a single one is for all of them."""
    if not isinstance(values, (list, tuple)):
        return [values] * len(sessions)
    if len(values) != len(sessions):
        raise ValueError(f"{name} must have one value for each of {len(sessions)} sessions, got {len(values)}")
    return list(values)
