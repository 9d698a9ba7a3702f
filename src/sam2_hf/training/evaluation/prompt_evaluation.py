"""Evaluation of prompts on annotated images: mean IoU after some clicks, and for a box.

Axes: N objects, H and W of the image in pixels, h and w of the decoder's masks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...network.features import FrameFeatures
from ...network.mask_decoder import take
from ...prompt_values import MASK_PROMPT_LIMIT
from ...tracking.prompts import PointPrompt
from ..data.annotated_video import AnnotatedVideo
from ..models.candidates import decode
from ..prompting.clicks import correct, draw_box, first_click
from .metrics import region_similarity

if TYPE_CHECKING:
    from ...modeling_sam2 import Sam2PromptableModel
    from ...processing_sam2 import Sam2Processor

# Objects of an image whose masks are upsampled at once.
_OBJECTS_AT_ONCE = 16


@torch.inference_mode()
def evaluate_prompts(
    model: Sam2PromptableModel,
    processor: Sam2Processor,
    images: Iterable[AnnotatedVideo],
    clicks: Sequence[int] = (1, 3, 5),
) -> dict[str, float]:
    """Measure the mean IoU over all objects after some clicks, and for a box.

    The first click is at the centre of the object, each further one at the centre of the largest error. After the first
    click, the mask with the highest estimated IoU counts. Boxes are tight. Of videos, the first annotated frame counts.

    Args:
        model: with either kind of checkpoint, image or video.
        processor: of the model.
        images: the annotated images.
        clicks: after how many clicks to measure.

    Returns:
        Mean IoUs by name: "1 click", "3 clicks", "5 clicks", "box".
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
    """Yield the number of clicks so far and the masks (N, H, W), click by click."""
    clicks, logits = first_click(truth, where="centre"), None
    for count in range(1, most + 1):
        masks, logits = _predict(model, embeddings, clicks, logits, truth)
        yield count, masks
        clicks = clicks.followed_by(correct(truth, masks, where="centre"))


def _predict(
    model: Sam2PromptableModel, embeddings: list[Tensor], clicks: PointPrompt, logits: Tensor | None, truth: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict masks (N, H, W) bool for clicks in pixels of the image, and their logits (N, 1, h, w)."""
    height, width = model.prompt_encoder.image_size
    scale = torch.tensor([width / truth.shape[-1], height / truth.shape[-2]], device=truth.device)
    features = FrameFeatures((embeddings[0], embeddings[1]), embeddings[2])
    placed = PointPrompt(clicks.points * scale, clicks.labels)
    several = clicks.points.shape[1] == 1
    best = take(decode(model, features, embeddings[2], placed, logits, several))[0]
    masks = F.interpolate(best, size=truth.shape[-2:], mode="bilinear", align_corners=False).squeeze(1) > 0
    return masks, best.clamp(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)


def _ious(masks: Tensor, truth: Tensor) -> list[float]:
    return [region_similarity(*pair) for pair in zip(masks.cpu().numpy(), truth.cpu().numpy(), strict=True)]
