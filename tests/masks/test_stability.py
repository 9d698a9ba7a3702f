"""The stability of masks against its definition."""

import numpy as np
import torch

from sam2_hf.masks.stability import stability_score


def test_stability_is_the_iou_of_the_masks_at_both_cutoffs():
    logits = torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    scores = stability_score(logits, threshold=0.2, offset=0.5)
    high, low = logits > 0.7, logits > -0.3
    iou = (high & low).sum((-2, -1)) / (high | low).sum((-2, -1))
    assert torch.equal(scores, iou)


def test_stability_of_a_wide_mask_does_not_overflow():
    assert stability_score(torch.full((1, 2, 40_000), 5.0)).tolist() == [1.0]


def test_an_empty_mask_is_not_stable():
    assert stability_score(torch.full((1, 4, 4), -5.0)).tolist() == [0.0]


def test_arrays_give_what_tensors_give():
    logits = torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    scores = stability_score(logits.numpy(), threshold=0.2, offset=0.5)
    assert scores.dtype == np.float32 and scores.tolist() == stability_score(logits, 0.2, 0.5).tolist()
