"""Measuring a model on annotated images and videos: IoU after some clicks, and J&F of tracking.

Axes: N objects, H and W of the image in pixels, h and w of the decoder's masks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...network.features import FrameFeatures
from ...prompt_values import MASK_PROMPT_LIMIT
from ...tracking.prompts import PointPrompt
from ..data.annotated_video import AnnotatedVideo
from ..models.candidates import best_of, decode
from ..prompting.clicks import correct, draw_box, first_click
from ..prompting.interaction import PromptKind
from .metrics import ObjectFrames, ObjectScore, region_similarity

if TYPE_CHECKING:
    from ...modeling_sam2 import Sam2PromptableModel
    from ...modeling_sam2_video import Sam2VideoModel
    from ...processing_sam2 import Sam2Processor
    from ...processing_sam2_video import Sam2VideoProcessor

# Objects of an image whose masks are enlarged at once.
_OBJECTS_AT_ONCE = 16


@torch.inference_mode()
def evaluate_prompts(
    model: Sam2PromptableModel,
    processor: Sam2Processor,
    images: Iterable[AnnotatedVideo],
    clicks: Sequence[int] = (1, 3, 5),
) -> dict[str, float]:
    """Mean IoU over all objects after some clicks, and for a box: "1 click", "3 clicks", "5 clicks", "box".

    The first click goes to the middle of the object, each further one to the middle of the largest error. After the
    first, where several masks are possible, the one that the model thinks best counts. Boxes are tight. Of videos, the
    first annotated frame counts.
    """
    ious: dict[str, list[float]] = defaultdict(list)
    for image in images:
        clip = image.read([image.annotated[0]])
        rows = np.flatnonzero(clip.masks[0].any(axis=(1, 2)))
        inputs = processor(images=clip.frames[0], return_tensors="pt")
        embeddings = model.get_image_embeddings(inputs["pixel_values"].to(model.device, model.dtype))
        for start in range(0, len(rows), _OBJECTS_AT_ONCE):
            truth = torch.from_numpy(clip.masks[0, rows[start : start + _OBJECTS_AT_ONCE]]).to(model.device)
            for count, masks in _click(model, embeddings, truth, max(clicks)):
                if count in clicks:
                    ious[f"{count} click{'s' if count > 1 else ''}"] += _ious(masks, truth)
            ious["box"] += _ious(_predict(model, embeddings, draw_box(truth, noise=0.0), None, truth)[0], truth)
    return {name: float(np.mean(values)) for name, values in ious.items()}


def _click(
    model: Sam2PromptableModel, embeddings: list[Tensor], truth: Tensor, most: int
) -> Iterator[tuple[int, Tensor]]:
    """The masks (N, H, W) after every click."""
    clicks, logits = first_click(truth, where="centre"), None
    for count in range(1, most + 1):
        masks, logits = _predict(model, embeddings, clicks, logits, truth)
        yield count, masks
        clicks = clicks.followed_by(correct(truth, masks, where="centre"))


def _predict(
    model: Sam2PromptableModel, embeddings: list[Tensor], clicks: PointPrompt, logits: Tensor | None, truth: Tensor
) -> tuple[Tensor, Tensor]:
    """Masks (N, H, W) bool for clicks in pixels of the image, and their logits (N, 1, h, w)."""
    height, width = model.prompt_encoder.image_size
    scale = torch.tensor([width / truth.shape[-1], height / truth.shape[-2]], device=truth.device)
    features = FrameFeatures((embeddings[0], embeddings[1]), embeddings[2])
    placed = PointPrompt(clicks.points * scale, clicks.labels)
    several = clicks.points.shape[1] == 1
    best = best_of(decode(model, features, embeddings[2], placed, logits, several))[0]
    masks = F.interpolate(best, size=truth.shape[-2:], mode="bilinear", align_corners=False).squeeze(1) > 0
    return masks, best.clamp(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)


def _ious(masks: Tensor, truth: Tensor) -> list[float]:
    return [region_similarity(*pair) for pair in zip(masks.cpu().numpy(), truth.cpu().numpy(), strict=True)]


def evaluate_tracking(
    model: Sam2VideoModel,
    processor: Sam2VideoProcessor,
    videos: Iterable[AnnotatedVideo],
    prompt: PromptKind = "mask",
) -> Iterator[ObjectScore]:
    """Follows every object of every video through its frames, and says how well, object by object.

    An object is prompted once, on the first annotated frame in which it is seen: with its mask, as in semi-supervised
    segmentation, with a click into its middle, or with a tight box. As in DAVIS and SA-V, the first and the last
    annotated frame of a video do not count, nor do frames before the object is first seen. Where a pixel belongs to one
    object at most (`AnnotatedVideo.exclusive`), the masks must agree on whose it is: it goes to the highest logit.
    """
    for video in videos:
        frames = _track(model, processor, video, prompt)
        for obj_id, collected in frames.items():
            if collected.regions:
                yield collected.score(video.name, obj_id)


def _track(
    model: Sam2VideoModel, processor: Sam2VideoProcessor, video: AnnotatedVideo, prompt: PromptKind
) -> dict[Hashable, ObjectFrames]:
    session = processor.init_video_session(_Frames(video), inference_device=model.device, retention="readable")
    first_seen: dict[Hashable, int] = {}
    for frame in video.annotated:
        for obj_id, mask in video.masks(frame).items():
            if obj_id not in first_seen and mask.any():
                first_seen[obj_id] = frame
                inputs = _prompt(prompt, mask)
                processor.add_inputs_to_inference_session(session, frame, [obj_id], **inputs)
    collected = {obj_id: ObjectFrames() for obj_id in first_seen}
    if not first_seen:
        return collected
    counted = set(video.annotated[1:-1])
    size = [session.video_height, session.video_width]
    for output in model.propagate_in_video_iterator(session):
        if output.frame_idx not in counted:
            continue
        # An object that nobody has seen yet takes no pixel from another.
        rows = [row for row, obj_id in enumerate(output.object_ids) if output.frame_idx >= first_seen[obj_id]]
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
    """One object's prompt as the processor takes it."""
    if kind == "mask":
        return {"input_masks": [mask]}
    truth = torch.from_numpy(mask).unsqueeze(0)
    if kind == "click":
        return {"input_points": [first_click(truth, where="centre").points.tolist()], "input_labels": [[[1]]]}
    return {"input_boxes": [draw_box(truth, noise=0.0).points.flatten(1).tolist()]}


class _Frames(Sequence[np.ndarray]):
    """The frames of a video, read when a session wants them."""

    def __init__(self, video: AnnotatedVideo):
        self._video = video

    def __len__(self) -> int:
        return self._video.num_frames

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        return self._video.image(index)
