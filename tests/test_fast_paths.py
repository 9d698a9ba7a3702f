"""The switch between fast and plain forms, and what it means for a whole model."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_close_in_scale
from tiny import tiny_image_model

from sam2_hf import fast_paths


def test_fast_forms_are_on_and_come_back_after_an_error():
    assert fast_paths.enabled()
    with pytest.raises(RuntimeError), fast_paths.plain_paths():
        assert not fast_paths.enabled()
        with fast_paths.plain_paths():
            pass
        assert not fast_paths.enabled()
        raise RuntimeError
    assert fast_paths.enabled()


@pytest.mark.parametrize("multimask", [True, False])
def test_a_model_gives_the_same_masks_either_way(multimask: bool):
    model, generator = tiny_image_model(), torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 128, 128, generator=generator)
    points = torch.rand(2, 3, 1, 2, generator=generator) * 128
    with torch.inference_mode():
        fast = model(pixels, points, multimask_output=multimask)
        with fast_paths.plain_paths():
            plain = model(pixels, points, multimask_output=multimask)
    assert not torch.equal(fast.pred_masks, plain.pred_masks)  # they were computed differently
    assert_close_in_scale(fast.pred_masks, plain.pred_masks, 1e-5)
    assert_close_in_scale(fast.iou_scores, plain.iou_scores, 1e-5)
