"""Evaluation of tracking on annotated videos: J, F and visibility of every object.

Axes: N objects, H and W of the frame in pixels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.annotated_video import AnnotatedVideo
from ..prompting.clicks import draw_box, first_click
from ..prompting.interaction import PromptKind
from .metrics import ObjectFrames, ObjectScore

if TYPE_CHECKING:
    from ...modeling_sam2_video import Sam2VideoModel
    from ...processing_sam2_video import Sam2VideoProcessor
    from ...tracking.session import Sam2VideoInferenceSession


def evaluate_tracking(
    model: Sam2VideoModel,
    processor: Sam2VideoProcessor,
    videos: Iterable[AnnotatedVideo],
    prompt: PromptKind = "mask",
) -> Iterator[ObjectScore]:
    """Track every object of every video and measure each of them.

    An object is prompted once, on the first annotated frame in which it is visible: with its mask, as in
    semi-supervised segmentation, with a click at its centre, or with a tight box. As in DAVIS and SA-V, the first and
    the last annotated frame of a video do not count, nor do frames before the object is first visible. Where a pixel
    belongs to at most one object (`AnnotatedVideo.exclusive`), it goes to the object with the highest logit.

    Args:
        model: the model.
        processor: of the model.
        videos: the annotated videos.
        prompt: of every object.

    Yields:
        One score for each object, video by video.
    """
    for video in videos:
        frames = _track(model, processor, video, prompt)
        for obj_id, collected in frames.items():
            if collected.regions:
                yield collected.score(video.name, obj_id)


def _track(
    model: Sam2VideoModel, processor: Sam2VideoProcessor, video: AnnotatedVideo, prompt: PromptKind
) -> dict[Hashable, ObjectFrames]:
    session = processor.init_video_session(VideoFrames(video), inference_device=model.device)
    return track_objects(model, processor, session, video, prompt)


def track_objects(
    model: Sam2VideoModel,
    processor: Sam2VideoProcessor,
    session: Sam2VideoInferenceSession,
    video: AnnotatedVideo,
    prompt: PromptKind,
) -> dict[Hashable, ObjectFrames]:
    """Track every object of a video in a new session and measure it frame by frame; see `evaluate_tracking`."""
    first_visible: dict[Hashable, int] = {}
    for frame in video.annotated:
        for obj_id, mask in video.masks(frame).items():
            if obj_id not in first_visible and mask.any():
                first_visible[obj_id] = frame
                inputs = _prompt(prompt, mask)
                processor.add_inputs_to_inference_session(session, frame, [obj_id], **inputs)
    collected = {obj_id: ObjectFrames() for obj_id in first_visible}
    if not first_visible:
        return collected
    counted = set(video.annotated[1:-1])
    size = [session.video_height, session.video_width]
    for output in model.propagate_in_video_iterator(session):
        if output.frame_idx not in counted:
            continue
        # An object before its first visible frame takes no pixel from another.
        rows = [row for row, obj_id in enumerate(output.object_ids) if output.frame_idx >= first_visible[obj_id]]
        restored = processor.post_process_masks(
            [output.pred_masks[rows]], [size], apply_non_overlapping_constraints=video.exclusive
        )
        masks = restored[0].squeeze(1).cpu().numpy()
        truth, ignored = video.masks(output.frame_idx), video.ignored(output.frame_idx)
        for row, mask in zip(rows, masks, strict=True):
            obj_id = output.object_ids[row]
            collected[obj_id].add(mask, truth.get(obj_id, np.zeros_like(mask)), ignored)
    return collected


def _prompt(kind: PromptKind, mask: np.ndarray) -> dict[str, Any]:
    """Prompt for one object, as arguments of the processor."""
    if kind == "mask":
        return {"input_masks": [mask]}
    truth = torch.from_numpy(mask).unsqueeze(0)
    if kind == "click":
        return {"input_points": [first_click(truth, where="centre").points.tolist()], "input_labels": [[[1]]]}
    return {"input_boxes": [draw_box(truth, noise=0.0).points.flatten(1).tolist()]}


class VideoFrames(Sequence[np.ndarray]):
    """Frames of a video, read when a session needs them."""

    def __init__(self, video: AnnotatedVideo):
        self._video = video

    def __len__(self) -> int:
        return self._video.num_frames

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        return self._video.image(index)
