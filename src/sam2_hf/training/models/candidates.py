"""The decoder's candidates for a mask, from prompts as training gives them.

Tracking needs the chosen mask alone; training teaches every candidate's estimate of its IoU, and the masks as they were
before an object that is judged absent is blanked.

Axes: R rows of embeddings, P objects on each, K = R * P objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ...network.mask_decoder import Candidates
from ...tracking.prompts import PointPrompt

if TYPE_CHECKING:
    from ...modeling_sam2 import Sam2PromptableModel
    from ...network.features import FrameFeatures


def decode(
    model: Sam2PromptableModel,
    features: FrameFeatures,
    embedding: Tensor,
    clicks: PointPrompt | None = None,
    previous_logits: Tensor | None = None,
    multimask: bool = False,
) -> Candidates:
    """Decode the prompts of K objects.

    Args:
        model: an image or a video model, which does the work.
        features: rows are those of the embeddings.
        embedding: (R, C, h, w).
        clicks: points (K, N, 2) and labels (K, N).
        previous_logits: (K, 1, h, w). Without clicks and logits, P is 1.
        multimask: three candidates an object, or one.

    Returns:
        All candidates, those of the first row's objects first.
    """
    rows = len(embedding)
    points = labels = logits = None
    if clicks is not None:
        points, labels = clicks.points.unflatten(0, (rows, -1)), clicks.labels.unflatten(0, (rows, -1))
    if previous_logits is not None:
        logits = previous_logits.squeeze(1).unflatten(0, (rows, -1))
    decoded = model.decode(embedding, points, labels, masks=logits)
    return model.mask_decoder.candidates(decoded, [*features.fine, embedding], multimask)
