"""The decoder's candidates for a mask, all of them: `Sam2VideoModel.segment` in two halves.

Tracking needs the best mask alone; training teaches every candidate's estimate of its IoU, and the masks as they were
before an object that is judged absent is blanked.

Axes: R rows of embeddings, P objects on each, K = R * P objects, M candidates, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ...network.mask_decoder import NO_OBJECT_LOGIT
from ...network.video_network import ObjectMasks
from ...tracking.prompts import PointPrompt

if TYPE_CHECKING:
    from ...configuration_sam2 import Sam2VideoConfig
    from ...modeling_sam2 import Sam2PromptableModel
    from ...modeling_sam2_video import Sam2VideoModel
    from ...network.features import FrameFeatures


class Candidates(NamedTuple):
    """`masks` (K, M, h, w) logits; `ious` (K, M), their estimates; `object_score` (K, 1); `tokens` (K, M, C)."""

    masks: Tensor
    ious: Tensor
    object_score: Tensor
    tokens: Tensor


def uses_several_masks(config: Sam2VideoConfig, num_points: int, reads_memory: bool) -> bool:
    """Whether the decoder gives several candidates: where the prompt is ambiguous, as one click or none is."""
    allowed = config.multimask_output_for_tracking or not reads_memory
    in_range = config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
    return config.multimask_output_in_sam and allowed and in_range


def decode(
    model: Sam2PromptableModel,
    features: FrameFeatures,
    embedding: Tensor,
    clicks: PointPrompt | None = None,
    previous_logits: Tensor | None = None,
    several: bool = False,
) -> Candidates:
    """Candidates of K objects on R embeddings (R, C, h, w), from their clicks and previous logits (K, 1, h, w).

    The rows of `features` are those of the embeddings. Without clicks and logits, P is 1.
    """
    rows = len(embedding)
    points = labels = logits = None
    if clicks is not None:
        points, labels = clicks.points.unflatten(0, (rows, -1)), clicks.labels.unflatten(0, (rows, -1))
    if previous_logits is not None:
        logits = previous_logits.squeeze(1).unflatten(0, (rows, -1))
    maps = [*features.fine, embedding]
    decoded = model.decode_prompts(maps, points, labels, input_masks=logits)
    predict = model.mask_decoder.multimasks if several else model.mask_decoder.single_mask
    masks, ious = predict(decoded, maps)
    tokens = decoded.mask_tokens[:, :, 1:] if several else decoded.mask_tokens[:, :, :1]
    fields = (masks, ious, decoded.object_score_logits, tokens)
    return Candidates(*(field.flatten(0, 1) for field in fields))


def best_of(candidates: Candidates) -> tuple[Tensor, Tensor, Tensor]:
    """Of the candidate that scores best its logits (K, 1, h, w) and IoU (K, 1), float32, and its token (K, C)."""
    best = candidates.ious.argmax(dim=1, keepdim=True)
    masks = candidates.masks.take_along_dim(best[..., None, None], dim=1)
    token = candidates.tokens.take_along_dim(best[..., None], dim=1).squeeze(1)
    return masks.float(), candidates.ious.take_along_dim(best, dim=1).float(), token


def choose(model: Sam2VideoModel, candidates: Candidates) -> ObjectMasks:
    """The candidate that scores best, as tracking takes it: blank where the object is judged absent."""
    masks, iou, token = best_of(candidates)
    present = candidates.object_score > 0
    return ObjectMasks(
        masks.masked_fill(~present[..., None, None], NO_OBJECT_LOGIT),
        candidates.object_score.float(),
        iou,
        model.pointer(model.object_pointer_proj(token), present),
    )
