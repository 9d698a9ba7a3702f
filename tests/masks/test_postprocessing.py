"""Mask logits to masks of the images."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from sam2_hf.masks import postprocessing
from sam2_hf.masks.postprocessing import MaskRestorer

LOGITS = 2 * torch.randn(2, 3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
SIZES = [(20, 30), (9, 41)]


def upscaled(stack: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(stack, size, mode="bilinear", align_corners=False)


def refused(message: str, error: type[Exception] = ValueError) -> Any:
    return pytest.raises(error, match="^" + re.escape(message) + "$")


@pytest.mark.parametrize("masks", [LOGITS, LOGITS.numpy(), list(LOGITS), [LOGITS[0].numpy(), LOGITS[1]], tuple(LOGITS)])
@pytest.mark.parametrize("sizes", [SIZES, torch.tensor(SIZES), np.array(SIZES), [list(size) for size in SIZES]])
def test_each_image_gets_masks_of_its_own_size(masks, sizes):
    for restored, logits, size in zip(MaskRestorer()(masks, sizes), LOGITS, SIZES, strict=True):
        assert restored.dtype == torch.bool
        assert torch.equal(restored, upscaled(logits, size) > 0)


def test_the_callers_list_is_not_changed():
    masks = [LOGITS[0].numpy(), LOGITS[1]]
    kept = list(masks)
    copies = [np.array(mask.tolist(), dtype=np.float32) for mask in masks]
    MaskRestorer(0.0, False, 5, 5, True)(masks, SIZES)
    assert all(mask is before for mask, before in zip(masks, kept, strict=True))
    assert all(np.array_equal(np.asarray(mask), copy) for mask, copy in zip(masks, copies, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_floating_type_is_resized_in_float32_at_least_and_kept(dtype):
    logits = LOGITS[0].to(dtype)
    precise = upscaled(logits.to(torch.promote_types(dtype, torch.float32)), SIZES[0])
    (restored,) = MaskRestorer(binarize=False)([logits], SIZES[:1])
    assert restored.dtype == dtype
    torch.testing.assert_close(restored, precise.to(dtype))
    (binary,) = MaskRestorer(mask_threshold=0.25)([logits], SIZES[:1])
    assert torch.equal(binary, precise > 0.25)


@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_bool_masks_are_cut_at_one_half(threshold):
    masks = LOGITS[0] > 0
    (restored,) = MaskRestorer(mask_threshold=threshold)([masks], SIZES[:1])
    assert torch.equal(restored, upscaled(masks.float(), SIZES[0]) > 0.5)
    (same,) = MaskRestorer()([masks], [(8, 8)])
    assert torch.equal(same, masks)
    (soft,) = MaskRestorer(binarize=False)([masks], SIZES[:1])
    assert torch.equal(soft, upscaled(masks.float(), SIZES[0]))


def test_masks_are_resized_in_bounded_chunks(monkeypatch):
    whole = MaskRestorer(0.0, True, 6, 6)(LOGITS, SIZES)
    chunks = []
    resize = postprocessing.resize_logits
    monkeypatch.setattr(
        postprocessing, "resize_logits", lambda part, size: chunks.append(part.shape[1]) or resize(part, size)
    )
    monkeypatch.setattr(postprocessing, "_PIXELS_AT_ONCE", 20 * 30 * 4)
    assert all(map(torch.equal, MaskRestorer(0.0, True, 6, 6)(LOGITS, SIZES), whole))
    assert chunks[:2] == [4, 2]


def small_parts(mask: np.ndarray, max_area: int) -> np.ndarray:
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    areas = ndimage.sum_labels(mask, labels, range(count + 1))
    return mask & (areas[labels] <= max_area)


@pytest.mark.parametrize("holes, sprinkles", [(12, 0), (0, 12), (12, 7)])
def test_holes_are_filled_and_sprinkles_removed_by_area_in_the_finished_mask(holes, sprinkles):
    noise = torch.randn(1, 3, 2, 20, 20, generator=torch.Generator().manual_seed(0))
    size = (30, 26)
    (plain,) = MaskRestorer()(noise, [size])
    expected = plain.clone().numpy()
    for mask in expected.reshape(-1, *size):
        mask |= small_parts(~mask, holes)
        mask &= ~small_parts(mask, sprinkles)
    (cleaned,) = MaskRestorer(0.0, True, holes, sprinkles)(noise, [size])
    assert not np.array_equal(expected, plain)
    assert np.array_equal(cleaned, expected)
    (logits,) = MaskRestorer(0.0, False, holes, sprinkles)(noise, [size])
    assert np.array_equal(logits > 0, expected)
    untouched = torch.from_numpy(expected) == plain
    assert torch.equal(logits[untouched], upscaled(noise[0], size)[untouched])


def test_without_overlap_each_pixel_has_the_object_with_the_highest_logit():
    restore = MaskRestorer(mask_threshold=-0.5, exclusive=True)
    (masks,) = restore(LOGITS[:1], SIZES[:1])
    logits = upscaled(LOGITS[0], SIZES[0])
    assert (masks.sum(0) <= 1).all() and (masks.sum(0) > 0).eq((logits > -0.5).any(0)).all()
    assert torch.equal(masks, (logits == logits.amax(0)) & (logits > -0.5))
    (soft,) = restore._replace(binarize=False)(LOGITS[:1], SIZES[:1])
    assert torch.equal(soft[masks], logits[masks])
    assert soft[logits != logits.amax(0)].max() <= -10.5


def test_an_object_in_the_hole_of_another_keeps_its_pixels():
    ring, disc = torch.full((1, 1, 9, 9), -4.0), torch.full((1, 1, 9, 9), -4.0)
    ring[..., 1:8, 1:8], ring[..., 3:6, 3:6] = 4, -4
    disc[..., 3:6, 3:6] = 4
    (masks,) = MaskRestorer(0.0, True, 9, 0, True)([torch.cat([ring, disc])], [(9, 9)])
    assert masks[1, 0].sum() == 9 and masks[0, 0].sum() == 40
    (alone,) = MaskRestorer(0.0, True, 9, 0, True)([ring], [(9, 9)])
    assert alone.sum() == 49


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8)])
def test_no_masks_give_no_masks(shape, exclusive):
    (restored,) = MaskRestorer(0.0, True, 5, 5, exclusive)([torch.zeros(shape)], SIZES[:1])
    assert restored.shape == (*shape[:2], 20, 30) and restored.dtype == torch.bool


def test_other_masks_are_refused():
    restore = MaskRestorer()
    with refused("original_sizes must hold a size for each image with masks: expected 2, got 1"):
        restore(LOGITS, SIZES[:1])
    with refused(
        "masks must be (images, objects, masks, height, width) or a list of (objects, masks, height, width), "
        "got shape (3, 2, 8, 8)"
    ):
        restore(LOGITS[0], SIZES)
    with refused(
        "masks[1] must be floating or bool of shape (objects, masks, height, width), "
        "got torch.float32 of shape (2, 8, 8)"
    ):
        restore([LOGITS[0], LOGITS[0, 0]], SIZES)
    with refused(
        "masks[0] must be floating or bool of shape (objects, masks, height, width), "
        "got torch.int64 of shape (3, 2, 8, 8)"
    ):
        restore([LOGITS[0].long()], SIZES[:1])
    with refused("masks[0] must be a tensor or an array, got list", TypeError):
        restore([[[1.0]]], SIZES[:1])
    with refused("masks must be a tensor, an array or a list of them, got NoneType", TypeError):
        restore(None, SIZES)
    with refused(
        "original_sizes must hold (height, width) of each image, for example [(1200, 1800)]; got a size alone, (20, 30)"
    ):
        restore(LOGITS[:1], (20, 30))


@pytest.mark.parametrize("name", ["mask_threshold", "max_hole_area", "max_sprinkle_area"])
@pytest.mark.parametrize("value", ["0", float("nan"), True, [0.0]], ids=str)
def test_settings_that_are_no_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number, got "):
        MaskRestorer(**{name: value})([torch.zeros(1, 1, 4, 4)], [(8, 8)])


def test_numbers_of_libraries_and_no_area_are_taken():
    logits = [torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))]
    (expected,) = MaskRestorer(0.5, max_hole_area=3)(logits, [(8, 8)])
    (same,) = MaskRestorer(torch.tensor(0.5), max_hole_area=np.int64(3), max_sprinkle_area=None)(logits, [(8, 8)])
    assert torch.equal(same, expected)


@pytest.mark.parametrize(
    "masks, error, message",
    [
        (torch.zeros(1, 1, 0, 0), ValueError, r"masks\[0\] must have pixels, got shape \(1, 1, 0, 0\)"),
        (torch.zeros(1, 1, 4, 4, device="meta"), TypeError, r"masks\[0\] must be a dense tensor .* got a meta tensor"),
        (torch.zeros(1, 1, 4, 4).to_sparse(), TypeError, r"masks\[0\] must be a dense tensor .* got a sparse tensor"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.complex64), TypeError, r"masks\[0\] .* got a complex tensor"),
        (np.zeros((1, 1, 4, 4), complex), TypeError, r"masks\[0\] must hold real numbers"),
        (np.ma.masked_array(np.zeros((1, 1, 4, 4)), True), TypeError, r"masks\[0\] .* got a masked array"),
    ],
    ids=["no pixels", "meta", "sparse", "complex", "complex array", "masked"],
)
def test_masks_without_plain_values_are_refused(masks, error, message):
    with pytest.raises(error, match=message):
        MaskRestorer()([masks], [(8, 8)])


def test_masks_with_gradients_and_of_another_byte_order_are_taken():
    logits = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    (expected,) = MaskRestorer()([logits], [(8, 8)])
    (given,) = MaskRestorer()([logits.numpy().astype(">f4")], [(8, 8)])
    assert torch.equal(given, expected)
    leaf = logits.clone().requires_grad_()
    (learning,) = MaskRestorer(binarize=False)([leaf], [(8, 8)])
    assert torch.equal(learning > 0, expected)
    learning.sum().backward()  # a loss may be taken at the size of the image
    assert leaf.grad.abs().sum() > 0
