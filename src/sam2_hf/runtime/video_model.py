"""Objects segmented and tracked through clips and streams, by exported graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..network.features import (
    FrameFeatures,
    ObjectMasks,
    StoredMemories,
    StoredShapes,
    pointer_distance_scale,
    uses_multimask,
)
from ..prompt_values import NO_OBJECT_LOGIT, NOT_A_POINT_LABEL
from ..tracking.frame_result import FrameResult
from ..tracking.memory.registry import build_memory_policy
from ..tracking.model_arrays import NumpyArrays
from ..tracking.propagation import Direction, plan_passes
from ..tracking.step import FrameStep
from ..tracking.visits import visit_clip, visit_frame
from .exported_folder import ExportedFolder
from .graphs import Graphs
from .session import VideoSession

# Memory attention makes all scores of an object at once; so many bytes of them are made together.
_BYTES_OF_SCORES = 2**28


class VideoOutput(NamedTuple):
    """All objects of a session in one frame, in the order of `object_ids`.

    Attributes:
        object_ids: the objects.
        pred_masks: logits (N, 1, h, w).
        object_score_logits: (N, 1), above 0 where the object is visible.
        iou_scores: (N, 1), the estimated IoU of the masks.
        frame_idx: the index of the frame.
    """

    object_ids: list[Hashable]
    pred_masks: np.ndarray
    object_score_logits: np.ndarray
    iou_scores: np.ndarray
    frame_idx: int


class GraphCandidates(NamedTuple):
    """All masks that may be taken for N objects, M each: `masks` (N, M, h, w), `ious` (N, M), `object_score` (N, 1),
    `pointers` (N, M, C)."""

    masks: np.ndarray
    ious: np.ndarray
    object_score: np.ndarray
    pointers: np.ndarray


class VideoModel:
    """What `sam2_hf.Sam2VideoModel` does, by exported graphs. It has no state.

    Args:
        folder: of a video checkpoint.
        graphs: those of the folder.

    Raises:
        ValueError: the graphs cannot track.
    """

    def __init__(self, folder: ExportedFolder, graphs: Graphs):
        if not folder.is_video:
            raise ValueError(f"the graphs in {folder.path} cannot track: export a video checkpoint")
        self.config = folder.config
        self.image_size = folder.image_size
        self.memory_policy = build_memory_policy(self.config)
        self._graphs = graphs
        self._no_memory = folder.no_memory_embedding
        self._shapes = folder.shapes

    # What a user calls

    def __call__(
        self,
        inference_session: VideoSession,
        frame_idx: int | None = None,
        frame: np.ndarray | None = None,
        reverse: bool = False,
        run_mem_encoder: bool = True,
    ) -> VideoOutput:
        """Segment all objects of a session in one frame; see `sam2_hf.Sam2VideoModel.forward`."""
        step = self._step(inference_session)
        shape = (3, *self.image_size)
        frame_idx, computed = visit_frame(step, frame_idx, frame, shape, reverse, run_mem_encoder)
        return self._output(step, frame_idx, computed)

    def segment_prompts(self, inference_session: VideoSession, frame_idx: int) -> VideoOutput:
        """Segment the prompts that wait on a frame; see `sam2_hf.Sam2VideoModel.segment_prompts`."""
        step = self._step(inference_session)
        frame_idx = inference_session.check_frame_idx(frame_idx)
        inference_session.check_not_gone(frame_idx)
        step.segment_prompts([frame_idx])
        return self._output(step, frame_idx)

    def propagate_in_video_iterator(
        self,
        inference_session: VideoSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        show_progress_bar: bool = False,
        direction: Direction | None = None,
        in_frame_order: bool = False,
    ) -> Iterator[VideoOutput]:
        """Track all objects through the clip; see `sam2_hf.Sam2VideoModel.propagate_in_video_iterator`.

        A progress bar needs tqdm.
        """
        if reverse and direction not in (None, "backward"):
            raise ValueError(f'reverse=True means direction="backward", got direction={direction!r}')
        way = direction or ("backward" if reverse else "forward")
        passes = plan_passes(inference_session, way, start_frame_idx, max_frame_num_to_track, in_frame_order)
        return self._propagate(inference_session, passes, show_progress_bar)

    def _propagate(
        self, session: VideoSession, passes: Sequence[Any], show_progress_bar: bool
    ) -> Iterator[VideoOutput]:
        step = self._step(session)
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(_progress(session, passes)) if show_progress_bar else None
            frames = stack.enter_context(contextlib.closing(visit_clip(step, passes, progress=progress)))
            for frame_idx in frames:
                yield self._output(step, frame_idx)

    def _step(self, session: VideoSession) -> FrameStep:
        if not isinstance(session, VideoSession):
            raise TypeError(f"inference_session must be a VideoSession, got {type(session).__name__}")
        return FrameStep(self, self.memory_policy, session, NumpyArrays())

    def _output(
        self, step: FrameStep, frame_idx: int, computed: Mapping[Hashable, FrameResult] | None = None
    ) -> VideoOutput:
        return VideoOutput(step.session.obj_ids, *step.outputs(frame_idx, computed), frame_idx)

    # What a step calls

    def stored_shapes(self) -> StoredShapes:
        """The shapes of what a session stores of an object."""
        return self._shapes

    def encode_frames(self, pixel_values: np.ndarray) -> list[FrameFeatures]:
        """Frames (B, 3, H, W), one batch, to the features of each."""
        names = ("image_embeddings.0", "image_embeddings.1", "vision_features")
        levels = self._graphs.run("vision_encoder", {"pixel_values": pixel_values}, names)
        return [
            FrameFeatures((levels[0][row : row + 1], levels[1][row : row + 1]), levels[2][row : row + 1])
            for row in range(len(pixel_values))
        ]

    def without_memory(self, features: FrameFeatures) -> np.ndarray:
        """The embedding (1, C, h, w) for objects that no memory is read for."""
        return np.asarray(features.coarsest) + self._no_memory

    def pointer_distances(self, distances: np.ndarray, num_frames: int | None) -> np.ndarray:
        """Numbers of frames (rows, pointers) as parts of the largest distance in reach, float32."""
        scale = pointer_distance_scale(self.config.max_object_pointers_in_encoder, num_frames)
        return distances.astype(np.float32) / np.float32(scale)

    def read_memories(
        self, features: FrameFeatures, stored: StoredMemories, key_scale: np.ndarray | None = None
    ) -> np.ndarray:
        """The frame's embedding as N objects' memories show it, (N, C, h, w)."""
        maps = np.asarray(stored.features)
        count, memories, _, height, width = maps.shape
        hidden = self._shapes.pointers[0]
        pointers = np.zeros((count, 0, hidden), np.float32) if stored.pointers is None else np.asarray(stored.pointers)
        distances = np.zeros((count, 0), np.float32) if stored.distances is None else np.asarray(stored.distances)
        inputs = {
            "memory_features": maps,
            "memory_temporal_indices": np.broadcast_to(np.asarray(stored.temporal_indices), (count, memories)),
            "memory_key_scales": np.ones((count, memories), np.float32) if key_scale is None else key_scale,
            "object_pointers": pointers,
            "pointer_distances": np.broadcast_to(distances, (count, distances.shape[1])),
        }
        scores = 4 * height * width * (memories * height * width + pointers.shape[1] * hidden // maps.shape[2])
        at_once = max(1, _BYTES_OF_SCORES // scores)
        parts = []
        for start in range(0, count, at_once):
            rows = {name: array[start : start + at_once] for name, array in inputs.items()}
            parts += self._graphs.run(
                "memory_attention", {"vision_features": features.coarsest, **rows}, ["conditioned_features"]
            )
        return np.concatenate(parts)

    def uses_multimask(self, num_points: int, reads_memory: bool) -> bool:
        """Whether several masks are predicted and one is taken."""
        return uses_multimask(self.config, num_points, reads_memory)

    def segment(
        self,
        features: FrameFeatures,
        embedding: np.ndarray,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        previous_logits: np.ndarray | None = None,
        multimask: bool = False,
    ) -> ObjectMasks:
        """Masks of B x P objects, from P prompts on each of B embeddings (B, C, h, w); see `Sam2VideoNetwork`."""
        return self.choose(self.candidates(features, embedding, points, labels, previous_logits, multimask))

    def candidates(
        self,
        features: FrameFeatures,
        embedding: np.ndarray,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        previous_logits: np.ndarray | None = None,
        multimask: bool = False,
    ) -> GraphCandidates:
        """All masks that may be taken for the objects of `segment`, whose arguments these are."""
        given = labels if labels is not None else previous_logits
        count = len(embedding) if given is None else given.shape[0] * given.shape[1]
        inputs = {
            "image_embeddings.0": np.asarray(features.fine[0]),
            "image_embeddings.1": np.asarray(features.fine[1]),
            "conditioned_features": np.broadcast_to(embedding, (count, *embedding.shape[1:])),
            "input_points": np.zeros((count, 1, 2), np.float32),
            "input_labels": np.full((count, 1), NOT_A_POINT_LABEL, np.int64),
        }
        if points is not None and labels is not None:
            inputs["input_points"] = points.reshape(count, -1, 2).astype(np.float32, copy=False)
            inputs["input_labels"] = labels.reshape(count, -1).astype(np.int64, copy=False)
        name = "tracked_mask_decoder"
        if previous_logits is not None:
            name += "_with_masks"
            inputs["input_masks"] = previous_logits.reshape(count, *previous_logits.shape[-2:])
        wanted = ["pred_masks", "iou_scores", "object_pointers"]
        if not multimask:
            wanted = ["single_masks", "single_iou_scores", "single_object_pointers"]
        masks, ious, pointers, score = self._graphs.run(name, inputs, [*wanted, "object_score_logits"])
        return GraphCandidates(masks, ious, score, pointers)

    def choose(self, candidates: GraphCandidates, chosen: np.ndarray | None = None) -> ObjectMasks:
        """One candidate of every object, by default the one with the highest estimated IoU.

        Its mask is empty where the object is judged absent. `chosen` (N,) takes others.
        """
        best = candidates.ious.argmax(1) if chosen is None else np.asarray(chosen)
        rows = np.arange(len(best))
        visible = candidates.object_score > 0
        masks = np.where(visible[..., None, None], candidates.masks[rows, best][:, None], np.float32(NO_OBJECT_LOGIT))
        ious = candidates.ious[rows, best][:, None]
        return ObjectMasks(masks, candidates.object_score, ious, candidates.pointers[rows, best])

    def segment_from_masks(self, features: FrameFeatures, masks: np.ndarray) -> ObjectMasks:
        """Masks (N, 1, H, W) bool at the model's input size, taken as they are; the decoder adds the pointers."""
        inputs = {
            "image_embeddings.0": features.fine[0],
            "image_embeddings.1": features.fine[1],
            "vision_features": features.coarsest,
            "input_masks": masks[:, 0].astype(np.float32),
        }
        wanted = ["pred_masks", "object_score_logits", "iou_scores", "object_pointers"]
        logits, score, iou, pointers = self._graphs.run("given_mask_decoder", inputs, wanted)
        return ObjectMasks(logits, score, iou, pointers[:, 0])

    def encode_memory(
        self, features: FrameFeatures, logits: np.ndarray, object_score: np.ndarray, binarize: np.ndarray
    ) -> np.ndarray:
        """What N objects will be remembered by, (N, D, h, w), from their masks' logits (N, 1, h, w)."""
        inputs = {
            "vision_features": features.coarsest,
            "mask_logits": logits,
            "object_score_logits": object_score,
            "binarize": binarize,
        }
        return self._graphs.run("memory_encoder", inputs, ["memory_features"])[0]


def _progress(session: VideoSession, passes: Sequence[Any]) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("a progress bar needs tqdm: pip install tqdm") from error
    known = session.num_frames_total is not None
    return tqdm(total=sum(len(one_pass.frames) for one_pass in passes) if known else None)
