"""Everything in an image segmented: a grid of points, three masks each, filtered and compressed as they come.

The method is the automatic mask generator of "Segment Anything" (https://arxiv.org/abs/2304.02643, appendix B). What
costs time and memory comes last and for few: the model scores all prompts before any mask is made, masks of good
scores alone are upscaled, and none is ever brought to the image's size in logits.

Axes: P prompts, K masks, (h, w) the size of low-resolution masks. Embeddings and prompts are of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..fast.chunking import how_many_fit
from ..prompt_values import MASK_PROMPT_LIMIT
from .crops import Crop
from .mask_table import MaskTable
from .search import Candidates, passes, search_crop
from .settings import MaskGenerationSettings


@torch.no_grad()
def find_masks(
    model: Any,
    image_embeddings: list[torch.Tensor],
    input_size: tuple[int, int],
    crop: Crop,
    image_size: tuple[int, int],
    settings: MaskGenerationSettings,
    asked: Callable[[int], object] = lambda points: None,
) -> MaskTable:
    """Search one crop of an image with its layer's grid of points.

    Args:
        model: with `decode_prompts` and `upscale_masks`, see `Sam2Model`.
        image_embeddings: of the crop, from `get_image_embeddings`, with a batch axis of 1.
        input_size: (height, width) of the pixels that were encoded.
        crop: the part of the image, which was squeezed to `input_size`.
        image_size: (height, width).
        settings: see there.
        asked: is told for how many points the model has been asked, as it goes.

    Returns:
        The masks that pass all filters, in the order of the points; duplicates among them, unless
        `settings.box_nms_thresh` is set. In tiles, masks that are cut off as well.
    """
    device = image_embeddings[-1].device
    scale = torch.tensor([input_size[1], input_size[0]], device="cpu")

    def find(points: np.ndarray) -> Iterator[Candidates]:
        prompts = (torch.from_numpy(points) * scale).to(device)
        return _candidates(model, image_embeddings, prompts, settings)

    return search_crop(find, how_many_fit(image_embeddings[-1].nbytes, device), crop, image_size, settings, asked)


def _candidates(
    model: Any, embeddings: list[torch.Tensor], points: torch.Tensor, settings: MaskGenerationSettings
) -> Iterator[Candidates]:
    """Masks that pass the IoU filter, a few prompts at a time. `points` (P, 2) in pixels of the model's input."""
    decoded = _decode(model, embeddings, points)
    if settings.use_m2m:
        return _refined(model, embeddings, points, decoded, settings)
    if settings.multimask_output:
        return _multimasks(model, embeddings, decoded, settings.pred_iou_thresh)
    return _single_masks(model, embeddings, decoded, settings.pred_iou_thresh)


def _decode(model: Any, embeddings: list[torch.Tensor], points: torch.Tensor, masks: torch.Tensor | None = None) -> Any:
    """One foreground click a prompt, with a mask (P, h, w) to start from or without."""
    labels = torch.ones(1, len(points), 1, dtype=torch.int64, device=points.device)
    return model.decode_prompts(
        embeddings,
        input_points=points[None, :, None],
        input_labels=labels,
        input_masks=None if masks is None else masks[None],
    )


def _multimasks(model: Any, embeddings: list[torch.Tensor], decoded: Any, threshold: float) -> Iterator[Candidates]:
    """The three masks of each prompt, where they pass."""
    scores = decoded.iou_scores
    passing = passes(scores, threshold)
    passing[..., 0] = False
    for prompts in _prompts_at_a_time(passing[0], embeddings):
        chosen = torch.zeros_like(passing)
        chosen[0, prompts] = passing[0, prompts]
        logits = model.upscale_masks(decoded, embeddings, chosen)
        yield Candidates(logits, scores[chosen].float(), chosen[0].nonzero()[:, 0])


def _single_masks(model: Any, embeddings: list[torch.Tensor], decoded: Any, threshold: float) -> Iterator[Candidates]:
    """The one mask of each prompt, where it passes.

    Which of a prompt's masks that is depends on how stable number 0 is; a prompt without any mask that passes is out
    before.
    """
    for prompts in _prompts_at_a_time(passes(decoded.iou_scores[0], threshold), embeddings):
        few = _of_prompts(decoded, prompts)
        logits, scores = model.mask_decoder.single_mask(few, embeddings)
        passing = passes(scores[0, :, 0], threshold)
        yield Candidates(logits[0, passing, 0], scores[0, passing, 0].float(), prompts[passing])


def _refined(
    model: Any,
    embeddings: list[torch.Tensor],
    points: torch.Tensor,
    decoded: Any,
    settings: MaskGenerationSettings,
) -> Iterator[Candidates]:
    """Masks given back to the model together with their point; what comes out counts."""
    first = _multimasks if settings.multimask_output else _single_masks
    for logits, _, prompt in first(model, embeddings, decoded, threshold=0.0):
        start = logits.clamp(-MASK_PROMPT_LIMIT, MASK_PROMPT_LIMIT)
        again = _decode(model, embeddings, points[prompt], start)
        for better in _single_masks(model, embeddings, again, settings.pred_iou_thresh):
            yield better._replace(prompt=prompt[better.prompt])


def _of_prompts(decoded: Any, prompts: torch.Tensor) -> Any:
    """What was decoded for some of the prompts alone. Of all its tensors, the second axis is that of the prompts."""
    tensors = {name: value for name, value in decoded._asdict().items() if isinstance(value, torch.Tensor)}
    return decoded._replace(**{name: tensor[:, prompts] for name, tensor in tensors.items()})


def _prompts_at_a_time(passing: torch.Tensor, embeddings: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Indices of the prompts with a mask that passes, of `passing` (P, M), as many at once as are upscaled together."""
    indices = passing.any(dim=-1).nonzero().squeeze(1)
    # All masks of a prompt are made, at 16 times the pixels. What is in between is made a band at a time, and the finer
    # maps are laid out once for all of them.
    upscaled_bytes = passing.shape[-1] * 16 * embeddings[-1][0, 0].nbytes
    if len(indices):
        yield from indices.split(how_many_fit(upscaled_bytes, passing.device))
