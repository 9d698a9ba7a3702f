from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sam2_hf.network.losses import (
    IGNORED_LABEL,
    LossWeights,
    dice_loss,
    focal_loss,
    mask_iou,
    segmentation_loss,
)


def random_case(seed=0, objects=3, masks=3, low=8, high=32):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(objects, masks, low, low, generator=generator)
    ious = torch.rand(objects, masks, generator=generator)
    scores = torch.randn(objects, 1, generator=generator)
    labels = (torch.rand(objects, high, high, generator=generator) > 0.6).long()
    return logits, ious, scores, labels


def by_hand(logits, ious, score, label, weights=(20, 1, 1, 1)):
    """The loss of one object as the paper words it, pixel by pixel in float64 where it is easy to see."""
    present = bool((label > 0).any())
    upsampled = F.interpolate(logits[None].double(), size=label.shape, mode="bilinear", align_corners=False)[0]
    target = (label > 0).double()
    terms = []
    for mask, estimate in zip(upsampled, ious.double(), strict=True):
        p = torch.sigmoid(mask)
        right = p * target + (1 - p) * (1 - target)
        alpha = 0.25 * target + 0.75 * (1 - target)
        focal = (alpha * (1 - right) ** 2 * -right.log()).mean()
        dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
        hard = mask > 0
        union = (hard | (target > 0)).sum()
        iou = (hard & (target > 0)).sum() / max(int(union), 1)
        terms.append((focal, dice, (estimate - iou).abs()))
    best = min(range(len(terms)), key=lambda index: weights[0] * terms[index][0] + weights[1] * terms[index][1])
    focal, dice = terms[best][:2]
    iou = sum(term[2] for term in terms) / len(terms)
    p = torch.sigmoid(score.double())[0]
    object_score = -(p if present else 1 - p).log()
    if not present:
        focal = dice = iou = 0.0
    return [float(x) for x in (focal, dice, iou, object_score)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_equals_the_definition_written_out_for_each_object(seed, masks):
    logits, ious, scores, labels = random_case(seed, masks=masks)
    labels[1] = 0
    loss = segmentation_loss(logits, ious, scores, labels)
    each = [by_hand(*rows) for rows in zip(logits, ious, scores, labels, strict=True)]
    expected = [sum(column) / 3 for column in zip(*each, strict=True)]
    torch.testing.assert_close(torch.stack(loss[1:]), torch.tensor(expected), rtol=1e-4, atol=1e-6)
    total = 20 * expected[0] + expected[1] + expected[2] + expected[3]
    assert float(loss.total) == pytest.approx(total, rel=1e-4)


def test_teaches_only_the_best_mask_but_the_estimates_of_all():
    logits, ious, scores, labels = random_case()
    logits[:, 1] = 6 * F.interpolate(labels[:, None].float(), size=(8, 8), mode="area")[:, 0] - 3
    logits.requires_grad_(True)
    ious.requires_grad_(True)
    segmentation_loss(logits, ious, scores, labels).total.backward()
    taught = logits.grad.abs().amax((-2, -1)) > 0
    assert taught.tolist() == [[False, True, False]] * 3
    assert (ious.grad.abs() > 0).all()


def test_teaches_the_mask_that_is_chosen_as_far_as_asked():
    logits, ious, scores, labels = random_case(masks=2)
    logits[:, 1] = 6 * F.interpolate(labels[:, None].float(), size=(8, 8), mode="area")[:, 0] - 3  # the best
    ious = torch.tensor([[0.9, 0.1]]).expand(3, -1)  # which chooses the other
    alone = [segmentation_loss(logits[:, [row]], ious[:, [row]], scores, labels) for row in (0, 1)]
    for share in (0.0, 0.25, 1.0):
        loss = segmentation_loss(logits, ious, scores, labels, LossWeights(chosen=share))
        torch.testing.assert_close(loss.focal, share * alone[0].focal + (1 - share) * alone[1].focal)
        torch.testing.assert_close(loss.dice, share * alone[0].dice + (1 - share) * alone[1].dice)
    single = segmentation_loss(logits[:, :1], ious[:, :1], scores, labels, LossWeights(chosen=0.5))
    torch.testing.assert_close(single.total, alone[0].total)


def test_teaches_nothing_but_absence_where_there_is_no_object():
    logits, ious, scores, labels = random_case()
    labels.zero_()
    for tensor in (logits, ious, scores):
        tensor.requires_grad_(True)
    loss = segmentation_loss(logits, ious, scores, labels)
    loss.total.backward()
    assert float(logits.grad.abs().sum()) == 0
    assert float(ious.grad.abs().sum()) == 0
    assert (scores.grad > 0).all()  # towards lower scores
    torch.testing.assert_close(loss.object_score, F.softplus(scores).mean())


def test_unknown_pixels_change_nothing():
    logits, ious, scores, labels = random_case()
    unknown = torch.zeros_like(labels, dtype=torch.bool)
    unknown[:, 8:20, 4:30] = True
    logits = F.interpolate(logits, size=labels.shape[-2:], mode="nearest")
    one = segmentation_loss(logits, ious, scores, labels.masked_fill(unknown, IGNORED_LABEL))
    other_logits = torch.where(unknown[:, None], -logits, logits)
    other = segmentation_loss(other_logits, ious, scores, labels.masked_fill(unknown, IGNORED_LABEL))
    torch.testing.assert_close(one, other)
    assert float(one.total) != pytest.approx(float(segmentation_loss(logits, ious, scores, labels).total))


def test_objects_that_fill_up_a_batch_do_not_count():
    logits, ious, scores, labels = random_case()
    alone = segmentation_loss(logits[:2], ious[:2], scores[:2], labels[:2])
    labels[2] = IGNORED_LABEL
    torch.testing.assert_close(segmentation_loss(logits, ious, scores, labels), alone)


def test_a_batch_without_any_object_has_a_loss_of_zero_and_gradients():
    logits, ious, scores, labels = random_case()
    logits.requires_grad_(True)
    loss = segmentation_loss(logits, ious, scores, torch.full_like(labels, IGNORED_LABEL))
    loss.total.backward()
    assert float(loss.total) == 0
    assert float(logits.grad.abs().sum()) == 0


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.uint8, torch.float32])
def test_labels_may_have_any_dtype(dtype):
    case = random_case()
    torch.testing.assert_close(segmentation_loss(*case[:3], case[3].to(dtype)), segmentation_loss(*case))


def test_is_computed_in_float32_whatever_comes_in():
    logits, ious, scores, labels = random_case()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = segmentation_loss(logits.bfloat16(), ious.bfloat16(), scores.bfloat16(), labels)
    rounded = (tensor.bfloat16().float() for tensor in (logits, ious, scores))
    assert half.total.dtype == torch.float32
    torch.testing.assert_close(half, segmentation_loss(*rounded, labels))


def test_stays_finite_for_extreme_logits():
    logits, ious, scores, labels = random_case()
    logits = torch.where(logits > 0, 1e4, -1e4).requires_grad_(True)
    loss = segmentation_loss(logits, ious, 1e4 * scores, labels)
    loss.total.backward()
    assert all(math.isfinite(float(term)) for term in loss)
    assert torch.isfinite(logits.grad).all()


def test_weights_scale_their_terms():
    case = random_case(masks=1)
    plain = segmentation_loss(*case)
    nothing = LossWeights(focal=0, dice=0, iou=0, object_score=0)
    for name in ("focal", "dice", "iou", "object_score"):
        weights = replace(nothing, **{name: 2.5})
        assert float(segmentation_loss(*case, weights).total) == pytest.approx(2.5 * float(getattr(plain, name)))


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"chosen must be a share .* got 1\.5"):
        LossWeights(chosen=1.5)


def test_leading_axes_are_objects():
    logits, ious, scores, labels = random_case(objects=6)
    flat = segmentation_loss(logits, ious, scores, labels)
    shaped = segmentation_loss(*(tensor.unflatten(0, (2, 3)) for tensor in (logits, ious, scores, labels)))
    torch.testing.assert_close(shaped, flat)


def test_perfect_masks_cost_next_to_nothing():
    labels = random_case()[3]
    logits = (40 * labels.float() - 20)[:, None]
    known = torch.ones_like(logits)
    assert float(focal_loss(logits, labels[:, None], known).max()) < 1e-8
    assert float(dice_loss(logits, labels[:, None], known).max()) < 1e-5
    assert mask_iou(logits, labels[:, None], known).tolist() == [[1.0]] * 3


@pytest.mark.parametrize("name", ["iou_scores", "object_scores", "labels"])
def test_names_what_does_not_fit(name):
    case = dict(zip(("masks", "iou_scores", "object_scores", "labels"), random_case(), strict=True))
    case[name] = case[name][:2]
    with pytest.raises(ValueError, match=f"^{name} must have the shape"):
        segmentation_loss(**case)
