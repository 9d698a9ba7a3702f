"""The bundled checkpoint, exported and run by onnxruntime, against the same checkpoint in torch."""

from __future__ import annotations

import numpy as np
import pytest
from clip_parity import draw_clip, track_and_correct, worst_iou

import sam2_hf
from sam2_hf import runtime

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason="needs the extra export")
    path = tmp_path_factory.mktemp("exported") / "graphs"
    sam2_hf.export(sam2_hf.bundled_checkpoint(), path)
    return path


def test_a_clip_of_four_objects_an_occlusion_and_a_correction(folder):
    frames, prompts, correction = draw_clip(40, (256, 256))
    ours = track_and_correct(runtime.Tracker(folder, threads=1), frames, prompts, correction)
    theirs = track_and_correct(sam2_hf.Tracker(), frames, prompts, correction)
    worst, compared = worst_iou(ours, theirs)
    assert len(ours) == 40 and compared > 100
    assert worst >= 0.999


def test_frames_that_are_made_smaller_are_tracked_alike(folder):
    """Pillow's pixels then differ from torch's by a grey level here and there."""
    frames, prompts, correction = draw_clip(8, (500, 620), number=1)
    ours = track_and_correct(runtime.Tracker(folder, threads=1), frames, prompts, correction)
    theirs = track_and_correct(sam2_hf.Tracker(), frames, prompts, correction)
    worst, compared = worst_iou(ours, theirs)
    assert compared > 20
    assert worst >= 0.97  # of masks of some hundred pixels


def test_clicks_boxes_and_masks_on_an_image(folder):
    frames, prompts, _ = draw_clip(2, (256, 256))
    ours, theirs = runtime.Segmenter(folder, threads=1).encode(frames[0]), sam2_hf.Segmenter().encode(frames[0])
    for prompt in prompts.values():
        given = {{"box": "boxes"}.get(name, name): value for name, value in prompt.items() if name != "frame"}
        one, other = ours.segment(**given), theirs.segment(**given)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        again, expected = ours.segment(masks=one.masks[0]), theirs.segment(masks=one.masks[0])
        for mask, wanted in ((one.masks, other.masks), (again.masks, expected.masks)):
            assert (mask & wanted).sum() >= 0.999 * (mask | wanted).sum()
