"""The steps of mask generation one by one: transformers' own pipeline runs on our parts and finds what ours finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_image_model
from transformers import MaskGenerationPipeline

from sam2_hf import Sam2ImageProcessor, Sam2MaskGenerationPipeline
from sam2_hf.masks.boxes import mask_to_box
from sam2_hf.masks.rle import rle_to_mask

KEEP = {"points_per_crop": 4, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.5}


def draw(height: int = 60, width: int = 90) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def parts():
    return {"model": tiny_image_model(image_size=64), "image_processor": Sam2ImageProcessor(size=64)}


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("threshold", [1.0, 0.7])
@pytest.mark.parametrize("points_per_batch", [64, 7, None])
def test_transformers_pipeline_runs_on_our_parts(parts, layers, threshold, points_per_batch):
    settings = {
        **KEEP,
        "crops_n_layers": layers,
        "crops_nms_thresh": threshold,
        "points_per_batch": points_per_batch,
        "output_rle_mask": True,
        "output_bboxes_mask": True,
    }
    theirs = MaskGenerationPipeline(**parts)(draw(), **settings)
    ours = Sam2MaskGenerationPipeline(**parts)(draw(), **settings)
    assert len(ours["masks"]) == len(theirs["masks"]) >= 1
    torch.testing.assert_close(theirs["scores"], ours["scores"])
    for mask, rle, box, expected in zip(
        theirs["masks"], theirs["rle_mask"], theirs["bounding_boxes"], ours["masks"], strict=True
    ):
        assert (mask ^ expected).sum() <= 2  # a logit on the threshold up to rounding
        assert torch.equal(rle_to_mask(rle), mask) and torch.equal(mask_to_box(mask), box)


def test_crops_have_grids_in_pixels_of_the_models_input():
    boxes, points, crops, labels = Sam2ImageProcessor(size=64).generate_crop_boxes(
        draw(), 64, crop_n_layers=1, points_per_crop=4
    )
    assert boxes.shape == (5, 4) and boxes[0].tolist() == [0, 0, 90, 60]
    assert points.shape == (1, 16, 5, 2) and points[0, :2, 0].tolist() == [[8, 8], [24, 8]]
    assert labels.shape == (1, 16, 5) and (labels == 1).all()
    for box, crop in zip(boxes.tolist(), crops, strict=True):
        assert crop.dtype == torch.uint8
        left, top, right, bottom = box
        assert torch.equal(crop, torch.from_numpy(np.array(draw())).permute(2, 0, 1)[:, top:bottom, left:right])


def test_crops_with_fewer_points_are_padded():
    _, points, _, labels = Sam2ImageProcessor().generate_crop_boxes(
        draw(), (32, 64), crop_n_layers=1, points_per_crop=4, crop_n_points_downscale_factor=2
    )
    assert (labels[0, :, 0] == 1).all() and labels[0, :, 1].tolist() == [1] * 4 + [-10] * 12
    assert points[0, :4, 1].tolist() == [[16, 8], [48, 8], [16, 24], [48, 24]] and (points[0, 4:, 1] == -10).all()


def test_masks_of_a_crop_are_filtered_and_placed_in_the_image():
    crop, image_size = [30, 40, 100, 100], (120, 140)
    logits = torch.full((2, 2, 60, 70), -5.0)
    logits[0, 0, 25:33, 30:36] = 5  # good
    logits[0, 1, 25:33, 30:36] = 0.5  # not stable
    logits[1, 0, 25:33, 30:36] = 5  # of a low score
    logits[1, 1, 25:33, 0:4] = 5  # cut off by the crop's edge
    scores = torch.tensor([[0.9, 0.95], [0.2, 0.95]])
    processor = Sam2ImageProcessor()
    masks, kept, boxes = processor.filter_masks(logits, scores, image_size, crop)
    assert kept.tolist() == pytest.approx([0.9]) and boxes.tolist() == [[60, 65, 65, 72]]
    expected = torch.zeros(image_size, dtype=torch.bool)
    expected[65:73, 60:66] = True
    assert torch.equal(rle_to_mask(masks[0]), expected)
    everything, _, _ = processor.filter_masks(logits, scores, image_size, crop, 0, 0)
    assert len(everything) == 3
    none, _, no_boxes = processor.filter_masks(logits, scores, image_size, crop, 0.99)
    assert none == [] and no_boxes.shape == (0, 4)


def test_duplicates_of_all_crops_are_suppressed():
    rles = [{"size": [4, 6], "counts": [0, 24]}, {"size": [4, 6], "counts": [0, 20, 4]}]
    boxes = torch.tensor([[0, 0, 5, 3], [0, 0, 4, 3]])
    processor = Sam2ImageProcessor()
    masks, scores, kept, left = processor.post_process_for_mask_generation(rles, torch.tensor([0.5, 0.9]), boxes, 0.7)
    assert scores.tolist() == pytest.approx([0.9]) and kept == rles[1:] and left.tolist() == [[0, 0, 4, 3]]
    assert len(masks) == 1 and torch.equal(masks[0], rle_to_mask(rles[1]))
    masks, *_ = processor.post_process_for_mask_generation(rles, torch.tensor([0.5, 0.9]), boxes, 1.0)
    assert len(masks) == 2


def test_what_does_not_fit_is_refused():
    processor = Sam2ImageProcessor()
    with pytest.raises(
        ValueError, match=r"iou_scores must hold a score for each mask: expected \(2, 3\), got \(2, 2\)"
    ):
        processor.filter_masks(torch.zeros(2, 3, 4, 4), torch.zeros(2, 2), (4, 4), [0, 0, 4, 4])
    with pytest.raises(ValueError, match="image must be a single image, got 2"):
        processor.generate_crop_boxes([draw(), draw()], 64)
    with pytest.raises(ValueError, match="leaves no points of points_per_crop=2 in crop layer 2"):
        processor.generate_crop_boxes(draw(), 64, crop_n_layers=2, points_per_crop=2, crop_n_points_downscale_factor=2)
